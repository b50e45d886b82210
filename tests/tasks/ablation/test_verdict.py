"""Outcomes from intervals, and the seeds that an under-powered verdict names."""

from __future__ import annotations

import numpy as np
import pytest
from statsmodels.stats.power import TTestIndPower

from tasks.ablation.results import BASELINE, Outcome
from tasks.ablation.statistics import Noise
from tasks.ablation.verdict import SEEDS_LIMIT, Terms, effects, outcome, seeds_to_decide

TERMS = Terms(0.95, 0.8, tokens=1000)


@pytest.mark.parametrize(
    ("low", "high", "lower_is_better", "expected"),
    [
        (-0.4, -0.1, True, "better"),
        (-0.4, -0.1, False, "worse"),
        (0.001, 0.01, True, "worse"),
        (0.001, 0.01, False, "better"),
        (-0.02, 0.02, True, "within noise"),
        (-0.021, 0.01, True, "under-powered"),
        (-0.01, 0.021, False, "under-powered"),
        (0.0, 0.5, True, "under-powered"),
        (None, None, True, "under-powered"),
    ],
)
def test_an_outcome_follows_from_interval_and_tolerance(
    low: float | None, high: float | None, lower_is_better: bool, expected: Outcome
) -> None:
    assert outcome(low, high, 0.02, lower_is_better) == expected


def test_many_seeds_without_a_difference_end_within_noise() -> None:
    rng = np.random.default_rng(0)
    values = {arm: dict(enumerate(rng.normal(3.0, 0.005, 12))) for arm in (BASELINE, "a", "b")}
    found = effects(values, "bits_per_byte", True, {"a": 0.02, "b": 0.0005}, TERMS)
    assert [one.outcome for one in found] == ["within noise", "under-powered"]
    assert found[0].seeds_to_decide is None and found[0].tokens_to_decide is None


def test_an_arm_without_a_run_is_under_powered_and_one_that_diverged_is_worse() -> None:
    values = {BASELINE: {0: 1.0, 1: 1.1}, "a": {}, "hot": {0: 0.2}}
    gone, hot = effects(values, "bits_per_byte", True, {"a": 0.02, "hot": 0.02}, TERMS, {"hot": 1})
    assert (gone.outcome, gone.value, gone.seeds) == ("under-powered", None, 0)
    assert (hot.outcome, hot.value, hot.diverged) == ("worse", None, 1)


def test_tokens_to_decide_count_every_run_of_the_court() -> None:
    values = {BASELINE: {0: 1.0, 1: 1.02}, "a": {0: 1.0, 1: 1.01}, "b": {0: 1.01, 1: 1.02}}
    found = effects(values, "bits_per_byte", True, {"a": 0.02, "b": 0.02}, TERMS)[0]
    assert found.outcome == "under-powered" and found.seeds_to_decide is not None and found.seeds_to_decide > 2
    assert found.tokens_to_decide == found.seeds_to_decide * 3 * 1000


def test_the_named_seeds_have_the_power_of_an_ordinary_test_where_there_is_one_arm() -> None:
    certain = Noise(0.02, 10**6)  # known so well that its upper bound is the noise itself
    seeds = seeds_to_decide(certain, 1, 0.02, TERMS)
    assert seeds is not None
    power = TTestIndPower().power
    assert power(1.0, seeds, 0.05, ratio=1.0) >= 0.8 > power(1.0, seeds - 1, 0.05, ratio=1.0)


def test_seeds_grow_with_doubt_with_arms_and_with_the_fineness_of_the_question() -> None:
    base = seeds_to_decide(Noise(0.02, 20), 2, 0.02, TERMS)
    assert base is not None
    more = [
        seeds_to_decide(Noise(0.02, 3), 2, 0.02, TERMS),
        seeds_to_decide(Noise(0.02, 20), 8, 0.02, TERMS),
        seeds_to_decide(Noise(0.02, 20), 2, 0.01, TERMS),
        seeds_to_decide(Noise(0.02, 20), 2, 0.02, Terms(0.95, 0.95)),
        seeds_to_decide(Noise(0.02, 20), 2, 0.02, Terms(0.99, 0.8)),
    ]
    assert all(one is not None and one > base for one in more)
    assert seeds_to_decide(Noise(0.0, 3), 2, 0.02, TERMS) == 2


def test_no_number_is_named_that_nobody_could_pay_for_or_that_nothing_supports() -> None:
    assert seeds_to_decide(Noise(1.0, 3), 2, 0.02, TERMS) is None
    assert seeds_to_decide(None, 2, 0.02, TERMS) is None
    assert (seeds_to_decide(Noise(0.1, 3), 2, 0.02, TERMS) or 0) <= SEEDS_LIMIT


def test_pairing_plans_with_the_degrees_of_freedom_that_it_will_have() -> None:
    plain, paired = (seeds_to_decide(Noise(0.02, 20), 1, 0.03, Terms(0.95, 0.8, pairing)) for pairing in ("none", "seed"))  # type: ignore[arg-type]
    assert plain is not None and paired is not None and paired > plain
