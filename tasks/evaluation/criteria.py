"""The four numbers that say whether a task carries signal early (Smol Training Playbook, early-signal tasks; definitions of FineTasks).

A *model* is an arm with its score at every step, one row a seed: shape [seeds, steps], higher is better. A number that the curves do not
define is None, never a value that would pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations, pairwise

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
LAST = 5
"""Steps whose spread over seeds is the unit of `above_random`."""


def monotonicity(models: Mapping[str, Array], steps: Sequence[float]) -> float | None:
    """Mean over models of Spearman(step, score); of a model with several seeds the mean over its seeds.

    A curve that never moves has no ranks; it counts as 0, for it shows no progress.
    """
    from scipy.stats import spearmanr

    if not models or len(steps) < 2:
        return None

    def correlation(curve: Array) -> float:
        return 0.0 if np.all(curve == curve[0]) else float(spearmanr(steps, curve).statistic)

    return float(np.mean([np.mean([correlation(curve) for curve in seeds]) for seeds in models.values()]))


def signal_to_noise(seeds: Array) -> float | None:
    """Mean over steps of mean / standard deviation over seeds (divisor n - 1).

    Args:
        seeds: shape [seeds, steps], the metric as measured: its sign is not turned.

    The definition is generous with few seeds: over four seeds of normal scores with standard deviation sigma, the mean of 1/s is
    1.38/sigma.
    Steps at which all seeds agree exactly have no finite ratio and are left out, which lowers the result: None where no other is left.
    """
    if len(seeds) < 2:
        return None
    spread = seeds.std(axis=0, ddof=1)
    noisy = spread > _rounding(seeds)
    return float(np.mean(seeds.mean(axis=0)[noisy] / spread[noisy])) if noisy.any() else None


def above_random(models: Mapping[str, Array], baseline: float, seeds: Array) -> float | None:
    """Max over models of (final score - baseline) / (mean standard deviation over seeds of the last five steps).

    Args:
        models: of a model with several seeds the mean over its seeds counts.
        baseline: what a model that knows nothing scores, higher is better like the scores.
        seeds: the model whose seeds measure the noise, shape [seeds, steps].
    """
    if not models or len(seeds) < 2:
        return None
    spread = float(seeds[:, -LAST:].std(axis=0, ddof=1).mean())
    best = max(float(scores[:, -1].mean()) for scores in models.values())
    return (best - baseline) / spread if spread > _rounding(seeds) else None


def ordering_consistency(models: Mapping[str, Array], steps: Sequence[float]) -> float | None:
    """Mean Kendall tau-a between the rankings of the models at consecutive steps, over the second half of training.

    Models are ranked by the mean over their seeds. None with fewer than two models, or fewer than two steps in the second half.
    """
    late = [index for index, step in enumerate(steps) if 2 * step >= steps[-1]]
    if len(models) < 2 or len(late) < 2:
        return None
    scores = np.array([scores.mean(axis=0) for scores in models.values()])
    return float(np.mean([_tau_a(scores[:, before], scores[:, after]) for before, after in pairwise(late)]))


def _tau_a(one: Array, other: Array) -> float:
    """(concordant - discordant) / all pairs; a tie is neither. (scipy has tau-b and tau-c only, which correct for ties.)"""
    signs = [np.sign(one[a] - one[b]) * np.sign(other[a] - other[b]) for a, b in combinations(range(len(one)), 2)]
    return float(np.mean(signs))


def _rounding(values: Array) -> float:
    """Spread that is nothing but rounding: equal values have a computed standard deviation of a few units in the last place."""
    return 8 * float(np.finfo(np.float64).eps) * float(np.abs(values).max(initial=0.0))
