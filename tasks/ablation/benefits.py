"""What a change brings beside quality: speed, memory, stability; each measured, and shown only where it stands above its own noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from models.count import parameters
from models.flops import flops_per_token
from models.layout import Layout
from models.memory import key_value_bytes_per_token, static_bytes_per_rank
from tasks.ablation.config import Benefit
from tasks.ablation.request import ArmRequest
from tasks.ablation.results import BASELINE
from tasks.ablation.runs import PhaseEvidence
from tasks.ablation.verdict import Terms, effects

__all__ = ["Gains", "gains"]


@dataclass(frozen=True)
class Gains:
    """One arm beside the baseline, in all but quality."""

    benefits: dict[str, float]
    """speed, memory, cache: relative differences. stability: spikes a run that it saves."""
    shown: dict[Benefit, bool | None]
    """Whether it brings speed, memory, stability; None: the runs do not tell."""
    parameters: int
    """Of its model."""
    parameter_difference: float
    """Relative."""
    flops_difference: float
    """Relative, per token."""


def gains(arms: Sequence[ArmRequest], read: Sequence[PhaseEvidence], terms: Terms) -> dict[str, Gains]:
    """Every arm but the baseline (`arms[0]`)."""
    baseline, *others = arms
    faster = _faster(others, read, terms)
    found = {}
    for arm in others:
        speed, speed_shown = faster[arm.name]
        memory, cache = _relative(_static(arm), _static(baseline)), _relative(_cache(arm), _cache(baseline))
        saved, steadier = _steadier(arm.name, read, (1 - terms.confidence) / len(others))
        found[arm.name] = Gains(
            benefits={"memory": memory, "cache": cache}
            | ({} if speed is None else {"speed": speed})
            | ({} if saved is None else {"stability": saved}),
            shown={"speed": speed_shown, "memory": min(memory, cache) < 0 and max(memory, cache) <= 0, "stability": steadier},
            parameters=parameters(arm.model),
            parameter_difference=_relative(parameters(arm.model), parameters(baseline.model)),
            flops_difference=_relative(_flops(arm), _flops(baseline)),
        )
    return found


def _faster(arms: Sequence[ArmRequest], read: Sequence[PhaseEvidence], terms: Terms) -> dict[str, tuple[float | None, bool | None]]:
    """arm -> (relative throughput, whether it is faster), by the same comparison as a metric: machines have their noise too."""
    speeds: dict[str, dict[int, float]] = {}
    for one in read:
        if one.run.tokens_per_second:
            speeds.setdefault(one.arm.name, {})[one.run.seed] = one.run.tokens_per_second
    rows = effects(speeds, "tokens_per_second", False, {arm.name: 1.0 for arm in arms}, terms)
    base = fmean(speeds[BASELINE].values()) if BASELINE in speeds else None
    shown = {"better": True, "worse": False}
    return {row.arm: (None if row.value is None or not base else row.value / base, shown.get(row.outcome)) for row in rows}


def _steadier(arm: str, read: Sequence[PhaseEvidence], risk: float) -> tuple[float | None, bool | None]:
    """(spikes a run that are saved, whether that is more than chance): two Poisson rates, by scipy's exact-like E test."""
    from scipy.stats import poisson_means_test

    counts = {name: [one.spikes for one in read if one.arm.name == name and one.run.loss] for name in (BASELINE, arm)}
    mine, theirs = counts[arm], counts[BASELINE]
    if not mine or not theirs:
        return None, None
    if any(one.run.diverged_at is not None for one in read if one.arm.name == arm):
        return None, False
    saved = fmean(theirs) - fmean(mine)
    p = float(poisson_means_test(sum(theirs), len(theirs), sum(mine), len(mine), alternative="greater").pvalue)
    return saved, True if p < risk else False if saved < 0 else None


def _static(arm: ArmRequest) -> float:
    return float(static_bytes_per_rank(arm.model, Layout(), arm.phase.precision, optimizer=arm.optimizer.kind))


def _cache(arm: ArmRequest) -> float:
    return float(key_value_bytes_per_token(arm.model))


def _flops(arm: ArmRequest) -> float:
    return flops_per_token(arm.model, arm.phase.sequence_length)


def _relative(value: float, base: float) -> float:
    return value / base - 1
