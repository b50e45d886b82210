"""Intervals by scipy: Wilson for a share of items, bootstrap over documents for ratios of sums."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Interval = tuple[float, float]
Array = NDArray[np.float64]


def wilson(successes: float, items: int, confidence: float) -> Interval:
    """Wilson score interval of a share (Wilson 1927).

    Args:
        successes: whole; or, of items that count by the share of several answers that is right, their sum: such an item varies no more than
            one that is right or wrong, so the interval is at least as wide as it must be.
    """
    from scipy.special import ndtri

    share, z = successes / items, float(ndtri(0.5 + confidence / 2))
    middle, scale = share + z * z / (2 * items), 1 + z * z / items
    reach = z * float(np.sqrt(share * (1 - share) / items + z * z / (4 * items * items)))
    return max(0.0, (middle - reach) / scale), min(1.0, (middle + reach) / scale)


def bootstrap_ratio(numerator: ArrayLike, denominator: ArrayLike, *, confidence: float, resamples: int, seed: int) -> Interval | None:
    """Percentile bootstrap of sum(numerator) / sum(denominator), drawing whole documents.

    Returns:
        The interval, or None for fewer than two documents: their spread is unknown then.
    """
    none = np.zeros_like(np.asarray(numerator, np.float64))
    one = np.asarray(numerator, np.float64), np.asarray(denominator, np.float64)
    return bootstrap_difference([(one, (none, one[1]))], confidence=confidence, resamples=resamples, seed=seed)


Ratio = tuple[Array, Array]
"""(numerators, denominators), one element a document."""


def bootstrap_difference(groups: Sequence[tuple[Ratio, Ratio]], *, confidence: float, resamples: int, seed: int) -> Interval | None:
    """Percentile bootstrap of the mean over `groups` of the difference of two ratios of sums.

    Documents are drawn within each group (a source, a task), the same ones for both sides: a difficult document is difficult for both, and
    what is common to them cancels.

    Returns:
        The interval, or None where a group has fewer than two documents.
    """
    from scipy.stats import bootstrap

    if min(len(one[0]) for one, _ in groups) < 2:
        return None

    def statistic(*drawn: NDArray[np.int64], axis: int = -1) -> Array:
        apart = [
            one[0][where].sum(axis) / one[1][where].sum(axis) - other[0][where].sum(axis) / other[1][where].sum(axis)
            for (one, other), where in zip(groups, drawn, strict=True)
        ]
        return np.asarray(np.mean(apart, axis=0))

    found = bootstrap(
        tuple(np.arange(len(one[0])) for one, _ in groups),
        statistic,
        vectorized=True,
        method="percentile",
        n_resamples=resamples,
        confidence_level=confidence,
        rng=np.random.default_rng(seed),
    )
    interval = found.confidence_interval
    return float(interval.low), float(interval.high)
