from __future__ import annotations

import numpy as np
import pytest

from tasks.evaluation.intervals import bootstrap_ratio, wilson


def test_wilson_against_published_values() -> None:
    # Newcombe 1998, Table I, method 3 (score, without continuity correction): 81 of 263
    assert wilson(81, 263, 0.95) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson(80.5, 263, 0.95)[0] < wilson(81, 263, 0.95)[0], "averages of several answers count by their share"
    assert wilson(0, 20, 0.95) == pytest.approx((0.0, 0.1611), abs=1e-4)


def test_bootstrap_covers_the_spread_of_documents() -> None:
    rng = np.random.default_rng(3)
    size = rng.integers(100, 1000, 200).astype(float)
    bits = size * rng.normal(2.0, 0.2, 200)
    found = bootstrap_ratio(bits, size, confidence=0.95, resamples=2000, seed=1)
    assert found is not None
    low, high = found
    error = np.sqrt(((bits - 2.0 * size) ** 2).sum()) / size.sum()  # standard error of a ratio, by linearisation
    assert low < bits.sum() / size.sum() < high
    assert (high - low) == pytest.approx(2 * 1.96 * error, rel=0.15)


def test_one_document_has_no_interval() -> None:
    assert bootstrap_ratio([10.0], [5.0], confidence=0.95, resamples=100, seed=0) is None
