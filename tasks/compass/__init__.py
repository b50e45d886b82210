"""Compass: is training justified, what does it take, and can it be afforded."""

from __future__ import annotations

from tasks.compass.gate import require
from tasks.compass.memory import fits_memory
from tasks.compass.plan import Finding, TrainingPlan
from tasks.compass.planner import epoch_problems, plan_training
from tasks.compass.table import render

__all__ = ["Finding", "TrainingPlan", "epoch_problems", "fits_memory", "plan_training", "render", "require"]
