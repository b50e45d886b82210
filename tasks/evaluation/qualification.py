"""Which metrics may vote in a court: four criteria of their curves, and the gate that asks for them.

Smol Training Playbook, early-signal tasks: monotone, little noise, above random; the consistency of the ordering is only reported.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from contracts.config import Config, nearest

if TYPE_CHECKING:
    from tasks.evaluation.criteria import Array

__all__ = [
    "SEEDS",
    "STEPS",
    "Baseline",
    "Curves",
    "MetricQualification",
    "QualificationResult",
    "Thresholds",
    "judge",
    "qualification_problems",
]

SEEDS = 4
"""Seeds of the baseline that its noise is measured with."""
STEPS = 5
"""Points of a curve: noise is a mean over the last five."""
Points = list[tuple[float, float]]
Curves = dict[str, dict[int, Points]]
"""Arm -> seed -> (tokens, value); the baseline is the first arm."""


class Thresholds(Config):
    """Bounds of the three criteria that decide."""

    monotonicity: float = 0.5
    """Least mean Spearman correlation of score and step."""
    signal_to_noise: float = 20.0
    """Least mean over steps of (mean / standard deviation over seeds); a generative task is exempt."""
    above_random: float = 3.0
    """Least distance of the best final score from chance, in standard deviations."""


class Baseline(Config):
    """What a model that knows nothing scores."""

    value: float
    """In the metric's own unit and direction."""
    what: str
    """Where it is from: guessing, the untrained model, the token bigram."""


class MetricQualification(Config):
    """One metric's four numbers and what follows from them; None: the curves do not define it."""

    lower_is_better: bool
    """Direction; the sign of such a metric is turned for everything but signal to noise."""
    generative: bool
    """Whether the answer was generated: then exempt from signal to noise."""
    baseline: Baseline | None
    """What `above_random` is measured from."""
    monotonicity: float | None = None
    """Mean over models of Spearman(step, score)."""
    signal_to_noise: float | None = None
    """Mean over steps of mean / standard deviation over the baseline's seeds."""
    above_random: float | None = None
    """Max over models of (final score - baseline) / mean standard deviation of the last five steps."""
    ordering_consistency: float | None = None
    """Mean Kendall tau-a between rankings of the arms at consecutive steps, second half; reported, never a reason."""
    seeds: int
    """Complete seeds of the baseline."""
    steps: int
    """Points of every curve, the untrained one not counted."""
    passed: bool
    """Whether it may vote."""
    reasons: list[str]
    """Why it may not; empty where it may."""

    def said(self) -> str:
        """The outcome in one line."""
        if not self.passed:
            return f"not qualified: {'; '.join(self.reasons)}"
        noise = _number(self.signal_to_noise) + (" (generative: exempt)" if self.generative else "")
        base = self.baseline.what if self.baseline else ""
        return (
            f"qualified: monotonicity {_number(self.monotonicity)}, signal to noise {noise}, "
            f"{_number(self.above_random)} standard deviations from {base}"
        )


class QualificationResult(Config):
    """qualification.json."""

    suite: str
    """The suite that was qualified, as its evaluations name it."""
    thresholds: Thresholds
    """Bounds that were applied."""
    arms: list[str]
    """The baseline first."""
    seeds: list[int]
    """Seeds of the baseline, as asked for."""
    tokens: list[int]
    """Points of the curves, as asked for."""
    metrics: dict[str, MetricQualification]
    """Every metric of the suite."""
    curves: dict[str, Curves]
    """Metric -> arm -> seed -> (tokens, value), incomplete ones too."""
    remarks: list[str] = Field([])
    """What a reader must know: runs that diverged, cells that are missing, several backends."""


def judge(
    curves: Curves,
    steps: Sequence[int],
    *,
    lower_is_better: bool,
    generative: bool,
    baseline: Baseline | None,
    thresholds: Thresholds,
) -> MetricQualification:
    """Apply the four criteria to one metric.

    Args:
        curves: the baseline first. A run that lacks one of `steps` does not count.
        steps: token counts of the curves, rising, without 0: an untrained model is a baseline and no step.
        baseline: None where nothing says what a model that knows nothing scores.
    """
    from tasks.evaluation import criteria

    sign = -1.0 if lower_is_better else 1.0
    models = {arm: rows for arm, rows in ((arm, _complete(runs, steps)) for arm, runs in curves.items()) if len(rows)}
    first = next(iter(curves), "")
    seeds = models.get(first)
    turned = {arm: sign * rows for arm, rows in models.items()}
    found = MetricQualification(
        lower_is_better=lower_is_better,
        generative=generative,
        baseline=baseline,
        monotonicity=criteria.monotonicity(turned, steps),
        signal_to_noise=None if seeds is None else criteria.signal_to_noise(seeds),
        above_random=None if baseline is None or seeds is None else criteria.above_random(turned, sign * baseline.value, turned[first]),
        ordering_consistency=criteria.ordering_consistency(turned, steps),
        seeds=0 if seeds is None else len(seeds),
        steps=len(steps),
        passed=False,
        reasons=[],
    )
    reasons = _lacking(found, first) or _failed(found, thresholds)
    return found.model_copy(update={"passed": not reasons, "reasons": reasons})


def qualification_problems(evidence: Mapping[str, Any] | None, metric: str, waiver: str | None = None) -> list[str]:
    """Why `metric` may not decide a court; empty where it may.

    Args:
        evidence: of the stage `qualify` (`qualified`, `why`); None where nothing was qualified.
        waiver: the reason for which it may decide all the same. It does not help a metric that the suite does not have.
    """
    qualified: Mapping[str, bool] = (evidence or {}).get("qualified", {})
    if qualified and metric not in qualified:
        return [f"no evaluation has the metric '{metric}'{nearest(metric, sorted(qualified))}"]
    if qualified.get(metric) is True or (waiver is not None and waiver.strip()):
        return []
    unreasoned = "; its waiver gives no reason" if waiver is not None else ""
    if not qualified:
        return [f"'{metric}' was not qualified: no seed runs say how much signal it carries{unreasoned}"]
    why = str((evidence or {}).get("why", {}).get(metric, "not qualified"))
    return [f"'{metric}' {why}{unreasoned}"]


def _complete(runs: Mapping[int, Points], steps: Sequence[int]) -> Array:
    """Scores of the runs that have every step; shape [runs, steps]."""
    import numpy as np

    known = [dict(points) for points in runs.values()]
    rows = [[one[step] for step in steps] for one in known if all(step in one for step in steps)]
    return np.array(rows, np.float64).reshape(len(rows), len(steps))


def _lacking(found: MetricQualification, first: str) -> list[str]:
    """What the criteria need and do not have."""
    needs: list[str] = []
    if found.seeds < SEEDS:
        needs.append(f"needs {SEEDS} complete seeds of '{first}', has {found.seeds}")
    if found.steps < STEPS:
        needs.append(f"needs {STEPS} points of the curve, has {found.steps}")
    if found.baseline is None and found.seeds:
        needs.append("needs a value of a model that knows nothing: evaluate the untrained model (0 tokens), or a token bigram beside it")
    return needs


def _failed(found: MetricQualification, bounds: Thresholds) -> list[str]:
    base = f"{found.baseline.what} ({found.baseline.value:.4g})" if found.baseline else ""
    checks = [
        (found.monotonicity, bounds.monotonicity, "monotonicity", "the curve has no ranks"),
        (found.above_random, bounds.above_random, f"standard deviations from {base}", "all seeds agree exactly"),
    ]
    if not found.generative:
        checks.insert(1, (found.signal_to_noise, bounds.signal_to_noise, "signal to noise", "all seeds agree exactly"))
    said: list[str] = []
    for value, least, name, undefined in checks:
        if value is None:
            said.append(f"{name}: not defined, {undefined}")
        elif not value >= least:
            said.append(f"{name} {_number(value)}, needs {least:g}")
    return said


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
