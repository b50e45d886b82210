"""Arms against their baseline on one metric: differences, noise, and intervals that hold for all arms at once.

Smol Training Playbook, ablation framework: every comparison states its difference, its noise and what the noise was estimated from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tasks.ablation.dunnett import ANY, critical_value, loading, p_value
from tasks.ablation.results import BASELINE

__all__ = ["Comparison", "Contrast", "Noise", "Pairing", "Values", "compare"]

Pairing = Literal["none", "seed"]
Values = Mapping[str, Mapping[int, float]]
"""Arm -> seed -> value of one metric, the baseline under its own name. A run without a value is not in it."""


@dataclass(frozen=True)
class Noise:
    """Standard deviation of one run."""

    deviation: float
    """In units of the metric."""
    degrees_of_freedom: int
    """What it was estimated from; at least 1."""


@dataclass(frozen=True)
class Contrast:
    """One arm minus the baseline."""

    value: float
    """Difference of the means; for `pairing: seed` as the arm + seed model estimates it."""
    low: float | None
    """Simultaneous interval; None without degrees of freedom."""
    high: float | None
    """Its upper end."""
    p_value: float | None
    """Adjusted for all arms."""
    runs: int
    """Runs of the arm that count."""
    baseline_runs: int
    """Runs of the baseline that count."""


@dataclass(frozen=True)
class Comparison:
    """All arms that have a run, against the baseline."""

    contrasts: dict[str, Contrast]
    """By arm."""
    noise: Noise | None
    """Pooled within arms; None where no arm has two runs."""
    paired: Noise | None
    """Once the level of each seed is taken out (arm + seed model); None where no seed was run twice over."""
    deciding: Noise | None
    """The one of the two that was settled before the runs, and that the intervals rest on."""


def compare(values: Values, confidence: float, pairing: Pairing = "none") -> Comparison:
    """Every arm minus the baseline, with intervals that hold together at `confidence`.

    none: the variance is pooled within arms (one-way model, Dunnett's intervals). seed: an additive model of arm and seed, by least
    squares, over the seeds that the baseline has. Arms with fewer runs use what there is.
    """
    arms = [arm for arm, runs in values.items() if arm != BASELINE and runs]
    if not values.get(BASELINE) or not arms:
        return Comparison({}, None, None, None)
    noise, model = _pooled(values), _Additive.fit(values)
    paired = model.noise if model else None
    if pairing == "seed":
        contrasts = model.contrasts(confidence) if model else {}
        return Comparison(contrasts, noise, paired, paired)
    return Comparison(_dunnett(values, arms, noise, confidence), noise, paired, noise)


def _pooled(values: Values) -> Noise | None:
    import numpy as np

    groups = [np.fromiter(runs.values(), np.float64) for runs in values.values() if runs]
    freedom = sum(len(group) - 1 for group in groups)
    if not freedom:
        return None
    squares = sum(float(((group - group.mean()) ** 2).sum()) for group in groups)
    return Noise((squares / freedom) ** 0.5, freedom)


def _dunnett(values: Values, arms: list[str], noise: Noise | None, confidence: float) -> dict[str, Contrast]:
    from statistics import fmean

    baseline = list(values[BASELINE].values())
    loadings = tuple(sorted(loading(len(values[arm]), len(baseline)) for arm in arms))
    found = {}
    for arm in arms:
        runs = list(values[arm].values())
        scale = (1 / len(runs) + 1 / len(baseline)) ** 0.5
        found[arm] = _contrast(fmean(runs) - fmean(baseline), scale, noise, loadings, confidence, (len(runs), len(baseline)))
    return found


def _contrast(
    value: float, scale: float, noise: Noise | None, loadings: tuple[float, ...], confidence: float, runs: tuple[int, int]
) -> Contrast:
    if noise is None:
        return Contrast(value, None, None, None, *runs)
    error = noise.deviation * scale
    half = critical_value(confidence, loadings, noise.degrees_of_freedom) * error
    p = p_value(value / error, loadings, noise.degrees_of_freedom) if error else float(value == 0)
    return Contrast(value, value - half, value + half, p, *runs)


@dataclass(frozen=True)
class _Additive:
    """value = arm + seed + error, by ordinary least squares over the cells whose seed the baseline has."""

    differences: dict[str, float]
    scales: dict[str, float]
    """Standard error of a difference in units of the noise."""
    noise: Noise | None
    runs: dict[str, int]
    baseline_runs: int
    balanced: bool

    @classmethod
    def fit(cls, values: Values) -> _Additive | None:
        import numpy as np

        seeds = list(values[BASELINE])
        cells = [(arm, seed) for arm, runs in values.items() for seed in seeds if seed in runs]
        arms = list(dict.fromkeys(arm for arm, _ in cells if arm != BASELINE))
        if not arms:
            return None
        design = np.zeros((len(cells), len(arms) + len(seeds)))
        for row, (arm, seed) in enumerate(cells):
            design[row, len(arms) + seeds.index(seed)] = 1.0
            if arm != BASELINE:
                design[row, arms.index(arm)] = 1.0
        found = np.array([values[arm][seed] for arm, seed in cells])
        solved = np.linalg.lstsq(design, found)[0]
        squares = float(((found - design @ solved) ** 2).sum())
        freedom = len(cells) - design.shape[1]
        scales = np.sqrt(np.diag(np.linalg.inv(design.T @ design)))
        return cls(
            differences={arm: float(solved[n]) for n, arm in enumerate(arms)},
            scales={arm: float(scales[n]) for n, arm in enumerate(arms)},
            noise=Noise((squares / freedom) ** 0.5, freedom) if freedom > 0 else None,
            runs={arm: sum(1 for one, _ in cells if one == arm) for arm in arms},
            baseline_runs=len(seeds),
            balanced=len(cells) == (len(arms) + 1) * len(seeds),
        )

    def contrasts(self, confidence: float) -> dict[str, Contrast]:
        own = loading(1, 1) if self.balanced else ANY
        loadings = (own,) * len(self.differences)
        return {
            arm: _contrast(value, self.scales[arm], self.noise, loadings, confidence, (self.runs[arm], self.baseline_runs))
            for arm, value in self.differences.items()
        }
