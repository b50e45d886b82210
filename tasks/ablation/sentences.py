"""Verdicts as sentences: what was found, how sure it is, and the size and budget that it holds for."""

from __future__ import annotations

from collections.abc import Iterable

from tasks.ablation.config import Modification
from tasks.ablation.request import JudgeRequest
from tasks.ablation.results import Effect
from tasks.evaluation import ACCURACY, BITS

__all__ = ["amount", "finding", "short", "size", "verdict_sentence"]

_UNITS = {"speed": "throughput", "memory": "bytes of weights, gradients and optimizer", "cache": "bytes of the key/value cache"}


def short(number: float) -> str:
    """1.0 M, 102 k..."""
    for unit, name in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= unit:
            scaled = number / unit
            return f"{scaled:.1f} {name}" if scaled < 10 else f"{scaled:.0f} {name}"
    return f"{number:.0f}"


def size(request: JudgeRequest, parameters: int) -> str:
    """What the verdicts of a court hold for."""
    if request.size:
        return request.size
    arm = request.baseline_arm
    sources = ", ".join(arm.phase.shares)
    return f"{short(parameters)} parameters at {short(arm.phase.steps * arm.phase.tokens_per_step)} tokens of {sources}"


def amount(metric: str, value: float, signed: bool = False) -> str:
    """A difference in words: `0.313 bits per byte`, `1.2 points`."""
    number, unit = _scaled(metric, value)
    return f"{number:{'+' if signed else ''}.{_digits(metric)}f} {unit}"


def finding(effect: Effect, tolerance: float, confidence: float) -> str:
    """The verdict on one metric without its consequences."""
    if effect.diverged:
        return f"worse: {effect.diverged} of its runs diverged"
    if effect.value is None:
        return "under-powered: no run of it and the baseline can be compared"
    if effect.low is None or effect.high is None:
        return (
            f"under-powered: {amount(effect.metric, effect.value, signed=True)} against the baseline, "
            "but one seed says nothing about the noise; run at least two"
        )
    sign = -1.0 if effect.lower_is_better else 1.0
    gain, ends = sign * effect.value, sorted((sign * effect.low, sign * effect.high))
    over = f"at {confidence:.0%} over {_seeds(effect)}"
    if effect.outcome in ("better", "worse"):
        if effect.outcome == "worse":
            gain, ends = -gain, [-ends[1], -ends[0]]
        return f"{effect.outcome} by {amount(effect.metric, gain)} {_interval(effect.metric, ends)} {over}"
    between = _interval(effect.metric, [effect.low, effect.high], signed=True)
    if effect.outcome == "within noise":
        return (
            f"within noise {over}: the difference is {amount(effect.metric, effect.value, signed=True)} {between}, "
            f"and nothing below {amount(effect.metric, tolerance)} matters"
        )
    difference = f"under-powered {over}: the difference is {amount(effect.metric, effect.value, signed=True)} {between}"
    if effect.seeds_to_decide is None:
        return f"{difference}; no number of seeds that could be paid for would show {amount(effect.metric, tolerance)}"
    tokens = f" ({short(effect.tokens_to_decide)} tokens in all)" if effect.tokens_to_decide else ""
    return f"{difference}; {effect.seeds_to_decide} seeds an arm{tokens} would show one of {amount(effect.metric, tolerance)}"


def verdict_sentence(
    modification: Modification, arm: str, said: str, benefits: dict[str, float], consequences: Iterable[str], holds_for: str
) -> str:
    """One sentence a person can read.

    Args:
        said: the finding on the court's metric.
        consequences: what becomes of the modification, and why.
    """
    parts = [f"{arm or modification.name}: {said}"]
    if modification.benefit != "quality":
        parts.append(_benefit(modification.benefit, benefits))
    return "; ".join([*parts, *consequences, f"holds for {holds_for}"]) + "."


def _benefit(benefit: str, benefits: dict[str, float]) -> str:
    if benefit == "stability":
        saved = benefits.get("stability")
        return "spikes were not counted" if saved is None else f"{saved:+.1f} spikes a run saved"
    names = ["memory", "cache"] if benefit == "memory" else [benefit]
    told = [f"{benefits[name]:+.1%} {_UNITS[name]}" for name in names if name in benefits]
    return ", ".join(told) or f"{benefit} was not measured"


def _seeds(effect: Effect) -> str:
    if effect.seeds == effect.baseline_seeds:
        return f"{effect.seeds} seed{'s' if effect.seeds != 1 else ''}"
    return f"{effect.seeds} of its runs and {effect.baseline_seeds} of the baseline"


def _scaled(metric: str, value: float) -> tuple[float, str]:
    if metric.startswith(ACCURACY):
        return value * 100, "points"
    return value, "bits per byte" if metric.startswith(BITS) else metric


def _digits(metric: str) -> int:
    return 1 if metric.startswith(ACCURACY) else 3


def _interval(metric: str, ends: list[float], signed: bool = False) -> str:
    numbers = (f"{_scaled(metric, end)[0]:{'+' if signed else ''}.{_digits(metric)}f}" for end in ends)
    return f"[{', '.join(numbers)}]"
