"""Compass: is training justified, what does it take, and can it be afforded."""

from __future__ import annotations

from tasks.compass.gate import require
from tasks.compass.inputs import RecipeLike
from tasks.compass.memory import fits_memory
from tasks.compass.plan import Finding, TrainingPlan
from tasks.compass.planner import epoch_problems, plan_training
from tasks.compass.table import amount, grid, render

__all__ = [
    "Finding",
    "RecipeLike",
    "TrainingPlan",
    "amount",
    "epoch_problems",
    "fits_memory",
    "grid",
    "plan_training",
    "render",
    "require",
]
