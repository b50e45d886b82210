"""Ablation: one change at a time against a baseline, judged against measured noise.

Light at import: what needs scipy or statsmodels is loaded when first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.lazy import offered
from tasks.ablation.request import ArmRequest, JudgeRequest, run_name
from tasks.ablation.results import BASELINE, CourtResult, Decision, Effect, Outcome, Response, Run

if TYPE_CHECKING:
    from tasks.ablation.body import judge
    from tasks.ablation.drift import Canary, compare_canary
    from tasks.ablation.scaling import PowerLaw, ScalingFit, Trial, fit_scaling, trials

__all__ = [
    "BASELINE",
    "ArmRequest",
    "Canary",
    "CourtResult",
    "Decision",
    "Effect",
    "JudgeRequest",
    "Outcome",
    "PowerLaw",
    "Response",
    "Run",
    "ScalingFit",
    "Trial",
    "compare_canary",
    "fit_scaling",
    "judge",
    "run_name",
    "trials",
]
_LAZY = {"judge": "body", "Canary": "drift", "compare_canary": "drift"} | dict.fromkeys(
    ("PowerLaw", "ScalingFit", "Trial", "fit_scaling", "trials"), "scaling"
)

__getattr__ = offered(__name__, _LAZY)
