"""Scaling laws and response curves from runs whose laws are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from contracts.errors import InputError
from tasks.ablation import Trial, fit_scaling, trials
from tasks.ablation.response import response_curve
from tasks.ablation.results import Run
from tests.tasks.ablation.courtroom import TOKENS, Courtroom, effects, modification

BUDGETS = (1e13, 1e14, 1e15, 1e16)
RATE_LAW, BATCH_LAW, LOSS_LAW = (0.3118, -0.125), (0.2920, 0.3271), (20.0, -0.05)


def law(pair: tuple[float, float], compute: float) -> float:
    return pair[0] * compute ** pair[1]


def grid(noise: float = 0.0, seed: int = 0) -> list[Trial]:
    """Losses that grow by the square of the distance to a known optimum, on a fine grid around it."""
    rng, found = np.random.default_rng(seed), []
    for compute in BUDGETS:
        for a in np.linspace(-1.0, 1.0, 9):
            for b in np.linspace(-1.0, 1.0, 5):
                loss = law(LOSS_LAW, compute) * (1 + 0.02 * (a * a + b * b)) * math.exp(rng.normal(0, noise))
                rate, batch = law(RATE_LAW, compute) * math.exp(a), law(BATCH_LAW, compute) * math.exp(b)
                found.append(Trial(name=f"{compute:g}/{a:.2f},{b:.2f}", compute=compute, learning_rate=rate, batch=batch, loss=loss))
    return found


def test_known_laws_are_found_again_and_extended() -> None:
    found = fit_scaling(grid(), target=1e17)

    assert found.learning_rate.exponent == pytest.approx(RATE_LAW[1], abs=1e-6)
    assert found.batch.exponent == pytest.approx(BATCH_LAW[1], abs=1e-6)
    assert (found.loss.coefficient, found.loss.exponent) == pytest.approx(LOSS_LAW, rel=1e-6)
    assert found.learning_rate.at == pytest.approx(law(RATE_LAW, 1e17), rel=1e-3)
    assert [one.tried for one in found.budgets] == [45] * 4 and all(len(one.near) > 1 for one in found.budgets)
    assert found.remarks == []


def test_intervals_cover_the_truth_under_noise() -> None:
    found = fit_scaling(grid(noise=0.002, seed=3), target=1e17)

    assert found.learning_rate.low < RATE_LAW[1] < found.learning_rate.high
    assert found.learning_rate.at_low is not None and found.learning_rate.at_high is not None
    assert found.learning_rate.at_low < law(RATE_LAW, 1e17) < found.learning_rate.at_high
    again = fit_scaling(grid(noise=0.002, seed=3), target=1e17)
    assert again == found


def test_the_band_keeps_what_is_within_a_quarter_of_a_percent() -> None:
    rows = [
        Trial(name=f"{compute:g}/{number}", compute=compute, learning_rate=1e-3 * (number + 1), batch=100, loss=loss)
        for compute in BUDGETS[:3]
        for number, loss in enumerate((1.0, 1.0024, 1.0026))
    ]
    assert [one.near for one in fit_scaling(rows).budgets] == [[f"{c:g}/0", f"{c:g}/1"] for c in BUDGETS[:3]]


def test_a_winner_at_the_edge_of_the_grid_and_a_far_target_are_said() -> None:
    rows = [one for one in grid() if one.learning_rate <= law(RATE_LAW, one.compute) * 1.01]
    remarks = fit_scaling(rows, target=1e19).remarks

    assert sum("lies at the edge of the grid" in one for one in remarks) == len(BUDGETS)
    assert any("1000 times the largest budget" in one for one in remarks)


def test_two_budgets_or_a_loss_of_nothing_make_no_law() -> None:
    with pytest.raises(InputError, match="2 compute budgets make no power law"):
        fit_scaling([one for one in grid() if one.compute < 1e15])
    with pytest.raises(InputError, match="above 0"):
        fit_scaling([*grid(), Trial(name="x", compute=1e13, learning_rate=1e-3, batch=1, loss=0.0)])


def test_runs_of_a_court_are_trials_by_the_flops_of_their_model(courtroom: Courtroom) -> None:
    result = courtroom.hold([modification("rate")], effects())
    lost = [*result.runs, Run(arm="rate", seed=9, left_out="lost")]
    found = trials(courtroom.request, lost)

    assert [one.name for one in found] == ["main/baseline.0", "main/baseline.1", "main/rate.0", "main/rate.1"]
    assert found[0].batch == 2048 and found[0].learning_rate == 2e-3
    assert 4 * 1e6 * TOKENS < found[0].compute < 12 * 1e6 * TOKENS


def test_a_parabola_finds_its_optimum_with_an_interval() -> None:
    rng = np.random.default_rng(1)
    points = [(share, 3.0 + (share - 0.35) ** 2 + rng.normal(0, 0.003)) for share in (0.1, 0.3, 0.5, 0.7, 0.9) for _ in range(2)]
    found = response_curve("code", points, "bits_per_byte")

    assert found.optimum == pytest.approx(0.35, abs=0.02) and found.low is not None and found.high is not None
    assert 0.2 < found.low < 0.35 < found.high < 0.5
    assert all(low <= value <= high for _, value, low, high in found.curve)
    assert found.sentence.startswith("bits_per_byte is best at 3")


def test_a_metric_that_only_falls_has_no_optimum_inside() -> None:
    points = [(share, 3.0 - share + 0.001 * n) for share in (0.1, 0.5, 0.9) for n in range(2)]
    found = response_curve("code", points, "bits_per_byte")
    assert found.optimum is None and "at the edge of what was tried, 90% of code" in found.sentence
    up = response_curve("code", [(share, 0.5 + share * share + 0.001 * n) for share in (0.1, 0.5, 0.9) for n in range(2)], "accuracy/pairs")
    assert up.optimum is None and "90% of code" in up.sentence


def test_three_runs_make_no_parabola() -> None:
    with pytest.raises(InputError, match="3 runs at 3 shares"):
        response_curve("code", [(0.1, 1.0), (0.2, 1.0), (0.3, 1.0)], "bits_per_byte")
