"""Ablation: one change at a time against a baseline, judged against measured noise.

Light at import: what needs scipy or statsmodels is loaded when first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tasks.ablation.request import ArmRequest, JudgeRequest, run_name
from tasks.ablation.results import BASELINE, CourtResult

if TYPE_CHECKING:
    from tasks.ablation.body import judge

__all__ = ["BASELINE", "ArmRequest", "CourtResult", "JudgeRequest", "judge", "run_name"]
_LAZY = {"judge": "body"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
