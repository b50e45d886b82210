"""Planted curves: each criterion must pass what has the property and refuse what has not."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from tasks.evaluation import criteria
from tasks.evaluation.qualification import Baseline, Curves, MetricQualification, Thresholds, judge, qualification_problems

STEPS = [100, 200, 300, 400, 500, 600]
CHANCE = Baseline(value=0.25, what="chance")


def rising(noise: float, *, start: float = 0.3, top: float = 0.6, seeds: int = 4) -> NDArray[np.float64]:
    """Straight curves, a constant distance apart, whose standard deviation over seeds is `noise` at every step."""
    apart = np.arange(seeds) - (seeds - 1) / 2
    return np.linspace(start, top, len(STEPS)) + noise * apart[:, None] / (apart.std(ddof=1) if seeds > 1 else 1)


def curves(**arms: NDArray[np.float64]) -> Curves:
    return {arm: {seed: list(zip(STEPS, map(float, row), strict=True)) for seed, row in enumerate(rows)} for arm, rows in arms.items()}


def asked(planted: Curves, *, baseline: Baseline | None = CHANCE, lower: bool = False, generative: bool = False) -> MetricQualification:
    steps = [int(tokens) for tokens, _ in max(next(iter(planted.values())).values(), key=len)]
    return judge(planted, steps, lower_is_better=lower, generative=generative, baseline=baseline, thresholds=Thresholds())


def test_monotonicity_by_hand() -> None:
    # ranks of the second curve 1 3 2 4: 1 - 6 * 2 / (4 * 15) = 0.8
    up, wobble, down = [1.0, 2, 3, 4], [1.0, 3, 2, 4], [4.0, 3, 2, 1]
    assert criteria.monotonicity({"a": np.array([up])}, [1, 2, 3, 4]) == pytest.approx(1)
    assert criteria.monotonicity({"a": np.array([up]), "b": np.array([wobble])}, [1, 2, 3, 4]) == pytest.approx(0.9)
    assert criteria.monotonicity({"a": np.array([down])}, [1, 2, 3, 4]) == pytest.approx(-1)


def test_monotonicity_weighs_models_and_not_seeds() -> None:
    up, down = np.array([[1.0, 2, 3, 4]]), np.array([[4.0, 3, 2, 1]] * 3)
    assert criteria.monotonicity({"a": up, "b": down}, [1, 2, 3, 4]) == pytest.approx(0)


def test_curve_that_never_moves_counts_as_no_progress() -> None:
    assert criteria.monotonicity({"a": np.full((4, 6), 0.5)}, STEPS) == 0
    assert criteria.monotonicity({"a": np.array([[0.5]])}, [100]) is None


def test_signal_to_noise_by_hand() -> None:
    # step 1: mean 10, sd sqrt 2; step 2: mean 20, sd 2 sqrt 2: both 10 / sqrt 2
    assert criteria.signal_to_noise(np.array([[9.0, 18], [11, 22]])) == pytest.approx(10 / np.sqrt(2))
    # a step without spread is left out and does not make the mean infinite
    assert criteria.signal_to_noise(np.array([[9.0, 0.1], [11, 0.1]])) == pytest.approx(10 / np.sqrt(2))
    assert criteria.signal_to_noise(np.full((4, 6), 0.1)) is None
    assert criteria.signal_to_noise(np.array([[9.0, 18]])) is None


def test_above_random_by_hand() -> None:
    seeds = np.array([[0.3, 0.4, 0.5], [0.5, 0.6, 0.7]])  # sd sqrt .02 at every step, final mean .6
    other = np.array([[0.2, 0.3, 0.8]])
    assert criteria.above_random({"a": seeds}, 0.25, seeds) == pytest.approx(0.35 / np.sqrt(0.02))
    assert criteria.above_random({"a": seeds, "b": other}, 0.25, seeds) == pytest.approx(0.55 / np.sqrt(0.02))
    assert criteria.above_random({"a": np.full((2, 3), 0.7)}, 0.25, np.full((2, 3), 0.7)) is None


def test_above_random_takes_the_last_five_steps() -> None:
    early = np.array([[-100.0, 1, 1, 1, 1, 1], [100.0, 2, 2, 2, 2, 2]])
    assert criteria.above_random({"a": early}, 0.0, early) == pytest.approx(1.5 / np.sqrt(0.5))


def test_ordering_consistency_by_hand() -> None:
    # Second half of six steps: 300 to 600, three neighbouring pairs. a < b < c, but b and c swap at 500: tau 1, 1/3, 1/3... then back
    a, b, c = [9.0, 9, 1, 1, 1, 1], [8.0, 1, 2, 2, 3, 2], [7.0, 5, 3, 3, 2, 3]
    models = {name: np.array([row]) for name, row in (("a", a), ("b", b), ("c", c))}
    assert criteria.ordering_consistency(models, STEPS) == pytest.approx((1 + 1 / 3 + 1 / 3) / 3)
    reverse = {"a": np.array([[1.0, 2, 1, 2, 1, 2]]), "b": np.array([[2.0, 1, 2, 1, 2, 1]])}
    assert criteria.ordering_consistency(reverse, STEPS) == pytest.approx(-1)
    assert criteria.ordering_consistency({"a": np.array([a])}, STEPS) is None


def test_ties_are_neither_for_nor_against() -> None:
    tied = {"a": np.full((1, 6), 0.5), "b": np.full((1, 6), 0.5), "c": np.array([[0.1, 0.2, 0.3, 0.3, 0.3, 0.3]])}
    assert criteria.ordering_consistency(tied, STEPS) == pytest.approx(2 / 3)


def test_task_with_signal_qualifies() -> None:
    found = asked(curves(baseline=rising(0.005)))
    assert found.passed and not found.reasons
    assert found.monotonicity == pytest.approx(1)
    assert found.said().startswith("qualified: monotonicity")
    assert found.ordering_consistency is None, "one model has no order, and that is no reason to refuse"


@pytest.mark.parametrize(
    ("planted", "criterion"),
    [
        (np.random.default_rng(0).normal(0.6, 0.01, (4, 6)), "monotonicity"),  # far above chance, quiet, and going nowhere
        (rising(0.005)[:, ::-1], "monotonicity"),
        (rising(0.03), "signal to noise"),  # rises, but two seeds differ by half a step
        (rising(0.005, start=0.24, top=0.26), "standard deviations from chance"),  # rises, quietly, to two deviations above chance
        (np.full((4, 6), 0.5), "monotonicity"),
        (np.full((4, 6), 0.5), "all seeds agree exactly"),
    ],
    ids=["noise", "falling", "noisy", "random level", "constant", "constant seeds"],
)
def test_planted_fault_is_refused_by_its_criterion(planted: NDArray[np.float64], criterion: str) -> None:
    found = asked(curves(baseline=planted))
    assert not found.passed and any(criterion in reason for reason in found.reasons), found.reasons
    assert "not qualified" in found.said() and criterion in found.said()


def test_each_criterion_refuses_alone() -> None:
    for planted, criterion in (
        (rising(0.03), "signal to noise 15, needs 20"),
        (np.random.default_rng(0).normal(0.6, 0.01, (4, 6)), "monotonicity"),
        (rising(0.005, start=0.24, top=0.26), "standard deviations from chance (0.25) 2, needs 3"),
    ):
        [reason] = asked(curves(baseline=planted)).reasons
        assert criterion in reason


def test_generated_answers_are_exempt_from_signal_to_noise_and_from_nothing_else() -> None:
    noisy = curves(baseline=rising(0.03))
    assert not asked(noisy).passed
    found = asked(noisy, generative=True)
    assert found.passed and "exempt" in found.said()
    assert not asked(curves(baseline=np.full((4, 6), 0.5)), generative=True).passed


def test_bits_fall_and_are_judged_by_the_same_criteria() -> None:
    falling = 3.0 - rising(0.005)
    bigram = Baseline(value=2.6, what="the token bigram")
    found = asked(curves(baseline=falling), baseline=bigram, lower=True)
    assert found.passed and found.monotonicity == pytest.approx(1)
    assert found.above_random is not None and found.above_random > 3
    assert not asked(curves(baseline=falling), baseline=bigram, lower=False).passed
    loses = asked(curves(baseline=falling), baseline=Baseline(value=2.3, what="the token bigram"), lower=True)
    assert len(loses.reasons) == 1 and "from the token bigram (2.3)" in loses.reasons[0]


def test_too_few_seeds_steps_or_no_baseline_never_pass() -> None:
    good = rising(0.005)
    assert asked(curves(baseline=good[:3])).reasons == ["needs 4 complete seeds of 'baseline', has 3"]
    short = {"baseline": {seed: points[:4] for seed, points in curves(baseline=good)["baseline"].items()}}
    assert asked(short).reasons == ["needs 5 points of the curve, has 4"]
    unknown = asked(curves(baseline=good), baseline=None)
    assert not unknown.passed and "knows nothing" in unknown.reasons[0]
    empty = judge({"baseline": {}}, STEPS, lower_is_better=False, generative=False, baseline=None, thresholds=Thresholds())
    assert empty.reasons == ["needs 4 complete seeds of 'baseline', has 0"]


def test_run_with_a_gap_does_not_count() -> None:
    planted = curves(baseline=rising(0.005, seeds=5))
    del planted["baseline"][2][3]
    assert asked(planted).seeds == 4
    del planted["baseline"][1][0]
    assert asked(planted).reasons == ["needs 4 complete seeds of 'baseline', has 3"]


def test_other_models_take_part_in_everything_but_the_noise() -> None:
    alone = asked(curves(baseline=rising(0.005)))
    both = asked(curves(baseline=rising(0.005), wider=rising(0.005, top=0.8, seeds=1)))
    assert both.signal_to_noise == alone.signal_to_noise
    assert both.above_random is not None and alone.above_random is not None and both.above_random > alone.above_random
    assert both.ordering_consistency == pytest.approx(1)
    assert asked(curves(baseline=rising(0.005, seeds=1), wider=rising(0.005))).reasons == ["needs 4 complete seeds of 'baseline', has 1"]


def test_thresholds_decide() -> None:
    planted = curves(baseline=rising(0.03))
    how = {"lower_is_better": False, "generative": False, "baseline": CHANCE}
    assert not judge(planted, STEPS, thresholds=Thresholds(), **how).passed, "signal to noise 15"
    assert judge(planted, STEPS, thresholds=Thresholds(signal_to_noise=10), **how).passed
    assert not judge(planted, STEPS, thresholds=Thresholds(signal_to_noise=10, above_random=13), **how).passed


EVIDENCE = {
    "qualified": {"bits_per_byte": True, "accuracy/induction": False},
    "why": {"bits_per_byte": "qualified: ...", "accuracy/induction": "not qualified: monotonicity 0.1, needs 0.5"},
}


def test_gate_lets_a_qualified_metric_vote() -> None:
    assert qualification_problems(EVIDENCE, "bits_per_byte") == []


def test_gate_refuses_and_says_why() -> None:
    assert qualification_problems(EVIDENCE, "accuracy/induction") == ["'accuracy/induction' not qualified: monotonicity 0.1, needs 0.5"]
    assert "was not qualified" in qualification_problems(None, "bits_per_byte")[0]
    assert "was not qualified" in qualification_problems({}, "bits_per_byte")[0]


def test_gate_takes_a_waiver_with_a_reason_only() -> None:
    assert qualification_problems(EVIDENCE, "accuracy/induction", "shown to the reader, decided by a person") == []
    assert qualification_problems(None, "bits_per_byte", "four seeds cost more than the demo") == []
    assert "gives no reason" in qualification_problems(None, "bits_per_byte", " ")[0]
    assert "gives no reason" in qualification_problems(EVIDENCE, "accuracy/induction", "")[0]


def test_gate_refuses_a_metric_that_no_suite_has_even_under_a_waiver() -> None:
    assert "did you mean 'accuracy/induction'" in qualification_problems(EVIDENCE, "accuracy/inductoin", "because")[0]


def test_tasks_at_random_level_never_qualify() -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        answers = rng.binomial(200, 0.25, (4, 6)) / 200
        assert not asked(curves(baseline=answers)).passed


def test_four_seeds_overstate_signal_to_noise_by_what_the_docstring_says() -> None:
    # E[1/s] = sqrt(3 / 2) Gamma(1) / Gamma(3 / 2) = 1.382 for sigma = 1 and four values
    many = np.random.default_rng(0).normal(100, 1, (4, 100_000))
    assert criteria.signal_to_noise(many) == pytest.approx(138.2, rel=0.02)
