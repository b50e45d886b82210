"""The court is right as often as it says: false alarms and power, simulated with the noise of real tiny runs."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ttest_ind

from benchmarks.court_power import MEASURED, Design, Values, court, false_alarms, named_seeds, power, sweeps, verdicts
from tasks.ablation.config import Court, Modification
from tasks.ablation.verdict import Terms

SWEEPS, BOUND = 5000, 0.07
"""Enough sweeps for the bound to hold with any seed where the true rate is 5 %: with 2,000 the interval alone is 2 points wide."""
DESIGNS = [Design(2, 2), Design(5, 3)]
NOISY_PROSE = MEASURED["effects"]["30 % of the prose replaced by noise"]


def uncorrected(values: Values) -> list[bool]:
    """What a reader does without a court: a t-test of each arm against the baseline."""
    baseline, *arms = (list(runs.values()) for runs in values.values())
    return list(ttest_ind(np.array(arms).T, np.array([baseline] * len(arms)).T).pvalue < 0.05)


@pytest.mark.parametrize("design", DESIGNS, ids=str)
def test_sweeps_without_an_effect_raise_fewer_false_alarms_than_promised(design: Design) -> None:
    alarms = false_alarms(design, SWEEPS, court)
    assert alarms.interval[1] < BOUND, str(alarms)
    assert alarms.interval[1] > 0.04, f"{alarms}: so few that the intervals must be too wide"


def test_a_statistic_without_correction_does_not_pass() -> None:
    alarms = false_alarms(Design(5, 3), 500, uncorrected)
    assert alarms.interval[0] > BOUND, str(alarms)


def test_the_cells_that_only_report_are_honest_together() -> None:
    case = Court(modifications=[Modification(name="a", hypothesis="h", change={"training.seed": 1})], tokens=1)
    terms, rng = Terms.of(case, metrics=2), np.random.default_rng(0)
    tables = zip(*(sweeps(Design(2, 2), 1000, rng, f"bits_per_byte/{source}") for source in MEASURED["noise"]), strict=True)
    alarms = sum(any(one.outcome in ("better", "worse") for values in table for one in verdicts(values, terms=terms)) for table in tables)
    assert alarms / 1000 < BOUND


def test_a_learning_rate_ten_times_too_low_is_found_with_two_seeds() -> None:
    found = power(MEASURED["effects"]["learning rate / 10"], Design(2, 2), 400)
    assert found.interval[0] > 0.95, str(found)


@pytest.mark.parametrize(("metric", "tolerance"), [("bits_per_byte/prose", 0.055), ("bits_per_byte", 0.042)])
def test_the_seeds_that_an_under_powered_verdict_names_are_enough(metric: str, tolerance: float) -> None:
    """The tolerance is the effect's own size: seeds named for a smaller one would find it all the more."""
    told = named_seeds(NOISY_PROSE, Design(2, 2), 400, metric, tolerance)
    assert told.under_powered.hits > 100
    assert told.found.interval[0] > 0.80, str(told.found)


def test_two_seeds_really_are_too_few_for_a_third_of_noise() -> None:
    assert power(NOISY_PROSE, Design(2, 2), 400, "bits_per_byte").interval[1] < 0.80
