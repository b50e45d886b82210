"""Differences, noise and simultaneous intervals, against scipy and statsmodels where they give the same thing."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

from tasks.ablation.dunnett import ANY, critical_value, loading, p_value
from tasks.ablation.results import BASELINE
from tasks.ablation.statistics import Values, compare


def drawn(sizes: list[int], seed: int = 0, effect: float = 0.0) -> dict[str, dict[int, float]]:
    """Values of the baseline (the first size) and arms, one run a seed."""
    rng = np.random.default_rng(seed)
    names = [BASELINE, *(f"arm{number}" for number in range(len(sizes) - 1))]
    return {
        name: {run: float(value) for run, value in enumerate(rng.normal(effect if name != BASELINE else 0.0, 1.0, size))}
        for name, size in zip(names, sizes, strict=True)
    }


def columns(values: Values) -> tuple[list[list[float]], list[float]]:
    return [list(runs.values()) for arm, runs in values.items() if arm != BASELINE], list(values[BASELINE].values())


@pytest.mark.parametrize("sizes", [[2, 2, 2], [3, 3, 3, 3, 3, 3], [4, 2, 3, 1], [2, 10], [10, 2, 2]])
def test_intervals_and_p_values_are_those_of_scipy(sizes: list[int]) -> None:
    values = drawn(sizes, seed=sum(sizes), effect=0.7)
    arms, baseline = columns(values)
    theirs = stats.dunnett(*arms, control=baseline, rng=np.random.default_rng(0))
    interval = theirs.confidence_interval(0.95)
    ours = list(compare(values, 0.95).contrasts.values())

    assert [one.p_value for one in ours] == pytest.approx(list(theirs.pvalue), abs=2e-3)
    width = interval.high - interval.low
    assert [one.high - one.low for one in ours if one.high is not None and one.low is not None] == pytest.approx(list(width), rel=0.01)


@pytest.mark.parametrize(
    ("arms", "freedom", "confidence", "table"), [(2, 6, 0.95, 2.86), (5, 20, 0.95, 2.73), (9, 60, 0.95, 2.77), (3, 8, 0.99, 4.00)]
)
def test_critical_values_are_those_of_the_published_table(arms: int, freedom: int, confidence: float, table: float) -> None:
    assert critical_value(confidence, (loading(1, 1),) * arms, freedom) == pytest.approx(table, abs=0.006)


@pytest.mark.parametrize("freedom", [1, 2, 7, 100])
def test_one_arm_is_an_ordinary_t_test(freedom: int) -> None:
    assert critical_value(0.95, (loading(3, 3),), freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=1e-3)
    values = drawn([4, 3], seed=freedom)
    arms, baseline = columns(values)
    low, high = CompareMeans(DescrStatsW(arms[0]), DescrStatsW(baseline)).tconfint_diff(alpha=0.05)
    ours = compare(values, 0.95).contrasts["arm0"]
    assert (ours.low, ours.high) == pytest.approx((low, high), rel=1e-3)


def test_a_p_value_and_an_interval_never_disagree() -> None:
    for seed in range(200):
        for one in compare(drawn([2, 2, 3], seed=seed, effect=2.0), 0.95).contrasts.values():
            assert one.low is not None and one.high is not None and one.p_value is not None
            assert (one.p_value < 0.05) == (one.low > 0 or one.high < 0)


def test_arms_that_share_nothing_need_wider_intervals_than_any_that_do() -> None:
    assert (
        critical_value(0.95, (ANY,) * 4, 6) > critical_value(0.95, (loading(1, 1),) * 4, 6) > critical_value(0.95, (loading(9, 1),) * 4, 6)
    )
    assert p_value(2.0, (ANY,) * 4, 6) > p_value(2.0, (loading(1, 1),) * 4, 6)


def test_noise_is_pooled_within_arms_with_its_degrees_of_freedom() -> None:
    values = {BASELINE: {0: 1.0, 1: 3.0}, "a": {0: 5.0, 1: 5.0, 2: 8.0}, "b": {0: 9.0}}
    found = compare(values, 0.95)

    assert found.noise is not None and found.noise.degrees_of_freedom == 3
    assert found.noise.deviation == pytest.approx(((2.0 + 6.0) / 3) ** 0.5)
    assert (found.contrasts["b"].value, found.contrasts["b"].runs, found.contrasts["b"].baseline_runs) == (7.0, 1, 2)


def test_pairing_takes_out_the_level_of_a_seed() -> None:
    rng = np.random.default_rng(4)
    level, own = rng.normal(0, 1.0, 3), rng.normal(0, 0.05, (2, 3))
    values = {BASELINE: dict(enumerate(level + own[0])), "a": dict(enumerate(level + own[1] + 1.0))}
    paired, plain = compare(values, 0.95, "seed"), compare(values, 0.95)
    differences = np.array(list(values["a"].values())) - np.array(list(values[BASELINE].values()))
    test = stats.ttest_1samp(differences, 0.0).confidence_interval(0.95)

    one = paired.contrasts["a"]
    assert (one.low, one.high) == pytest.approx((test.low, test.high), rel=1e-3)
    assert paired.paired is not None and paired.paired.deviation == pytest.approx(differences.std(ddof=1) / 2**0.5)
    assert paired.deciding == paired.paired and plain.deciding == plain.noise and plain.paired == paired.paired


def test_pairing_with_a_missing_run_uses_what_there_is_and_widens() -> None:
    values = drawn([3, 3, 3], seed=8)
    whole = compare(values, 0.95, "seed")
    del values["arm1"][2]
    found = compare(values, 0.95, "seed")

    assert found.contrasts["arm1"].runs == 2
    assert found.paired is not None and whole.paired is not None
    assert found.paired.degrees_of_freedom == whole.paired.degrees_of_freedom - 1 == 3
    one = found.contrasts["arm0"]
    assert one.high is not None and one.low is not None
    error = (one.high - one.low) / 2 / critical_value(0.95, (ANY,) * 2, 3)
    assert error == pytest.approx(found.paired.deviation * (2 / 3) ** 0.5, rel=0.05)


def test_one_run_an_arm_has_no_noise_and_no_interval() -> None:
    for pairing in ("none", "seed"):
        found = compare({BASELINE: {0: 1.0}, "a": {0: 2.0}}, 0.95, pairing)
        assert found.noise is None and found.deciding is None
        assert (found.contrasts["a"].value, found.contrasts["a"].low, found.contrasts["a"].p_value) == (pytest.approx(1.0), None, None)


def test_without_a_baseline_nothing_is_compared() -> None:
    assert compare({BASELINE: {}, "a": {0: 1.0, 1: 2.0}}, 0.95).contrasts == {}


def test_equal_runs_have_an_interval_of_no_width() -> None:
    found = compare({BASELINE: {0: 1.0, 1: 1.0}, "a": {0: 1.0, 1: 1.0}, "b": {0: 2.0, 1: 2.0}}, 0.95).contrasts
    assert (found["a"].low, found["a"].high, found["a"].p_value) == (0.0, 0.0, 1.0)
    assert (found["b"].low, found["b"].high, found["b"].p_value) == (1.0, 1.0, 0.0)
