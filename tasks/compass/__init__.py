"""Compass: is training justified, what does it take, and can it be afforded."""

from __future__ import annotations

from tasks.compass.gate import require
from tasks.compass.memory import fits_memory
from tasks.compass.plan import Finding, TrainingPlan
from tasks.compass.planner import plan_training
from tasks.compass.table import render

__all__ = ["Finding", "TrainingPlan", "fits_memory", "plan_training", "render", "require"]
