"""Intervals by scipy: Wilson for a share of items, bootstrap over documents for a ratio of sums."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Interval = tuple[float, float]


def wilson(successes: int, items: int, confidence: float) -> Interval:
    """Wilson score interval of a share (Wilson 1927; `scipy.stats.binomtest`)."""
    from scipy.stats import binomtest

    interval = binomtest(successes, items).proportion_ci(confidence_level=confidence, method="wilson")
    return float(interval.low), float(interval.high)


def bootstrap_ratio(
    numerator: Sequence[float] | NDArray[np.float64],
    denominator: Sequence[float] | NDArray[np.float64],
    *,
    confidence: float,
    resamples: int,
    seed: int,
) -> Interval | None:
    """Percentile bootstrap of sum(numerator) / sum(denominator), drawing whole documents.

    Returns:
        The interval, or None for fewer than two documents: their spread is unknown then.
    """
    from scipy.stats import bootstrap

    if len(numerator) < 2:
        return None

    def ratio(a: NDArray[np.float64], b: NDArray[np.float64], axis: int = -1) -> NDArray[np.float64]:
        return np.asarray(a.sum(axis=axis) / b.sum(axis=axis))

    found = bootstrap(
        (np.asarray(numerator, np.float64), np.asarray(denominator, np.float64)),
        ratio,
        paired=True,
        vectorized=True,
        method="percentile",
        n_resamples=resamples,
        confidence_level=confidence,
        rng=np.random.default_rng(seed),
    )
    interval = found.confidence_interval
    return float(interval.low), float(interval.high)
