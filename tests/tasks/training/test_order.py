"""The order of sequences: a permutation per pass, a fair blend, and nothing that depends on a phase's length."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.training.order import Blend, Place, SourceOrder, permute


@pytest.mark.parametrize("size", [1, 2, 3, 5, 16, 17, 100, 1023, 1024, 1025])
def test_permute_is_a_permutation(size: int) -> None:
    images = permute(np.arange(size), size, 12345)
    assert sorted(images) == list(range(size))


def test_permute_is_random_enough_and_keyed() -> None:
    one, other = (permute(np.arange(5000), 5000, key) for key in (1, 2))
    assert abs(np.corrcoef(one, np.arange(5000))[0, 1]) < 0.05
    assert abs(np.corrcoef(one[1:], one[:-1])[0, 1]) < 0.05
    assert (one == other).mean() < 0.01
    fixed = np.mean([np.mean(permute(np.arange(1000), 1000, key) == np.arange(1000)) for key in range(50)])
    assert fixed == pytest.approx(1 / 1000, abs=5e-4), "a random permutation has one fixed point on average"


def test_permute_answers_for_any_position_alone() -> None:
    whole = permute(np.arange(777), 777, 9)
    assert [int(permute(np.array([i]), 777, 9)[0]) for i in (0, 5, 776)] == [whole[0], whole[5], whole[776]]


def order(seed: int = 1, source: str = "a", tokens: int = 3201, length: int = 32, start: Place | None = None) -> SourceOrder:
    return SourceOrder(source, tokens, length, seed, start)


def test_each_pass_reads_every_window_once_in_an_order_of_its_own() -> None:
    one = order()
    assert one.windows == 100
    passes = one.window(np.arange(300)).reshape(3, 100)
    assert all(sorted(row) == list(range(100)) for row in passes)
    assert (passes[0] != passes[1]).any() and (passes[1] != passes[2]).any()


def test_the_order_depends_on_seed_and_source() -> None:
    orders = [order(), order(seed=2), order(source="b")]
    assert len({tuple(one.window(np.arange(100))) for one in orders}) == 3


def test_a_phase_goes_on_where_the_one_before_stopped() -> None:
    whole, first = order(), order()
    second = order(start=first.place(130))
    assert first.place(130) == Place(1, 30, 3201, 32)
    assert list(second.window(np.arange(100))) == list(whole.window(np.arange(130, 230)))


def test_a_phase_goes_on_at_another_sequence_length() -> None:
    longer = order(length=64, start=order().place(130))
    assert longer.place(0) == Place(1, 15, 3201, 64), "30 windows of 32 tokens are 15 of 64"
    rest = order(length=64, start=order(length=32).place(33))
    assert rest.place(0) == Place(0, 17, 3201, 64), "rounded up: a window partly read counts as read"
    shorter = order(length=16, start=order().place(130))
    assert shorter.place(0) == Place(1, 60, 3201, 16)


def test_another_stream_is_read_from_its_beginning() -> None:
    assert order(tokens=6401, start=order().place(130)).place(0) == Place(0, 0, 6401, 32)


@pytest.mark.parametrize("number", [1, 2, 3, 7, 60])
def test_every_prefix_has_the_asked_shares_within_one_sequence(number: int) -> None:
    rng = np.random.default_rng(number)
    for concentration in (0.1, 1.0, 10.0):
        weights = rng.dirichlet(np.full(number, concentration)) + 1e-6
        shares = {str(i): float(w) for i, w in enumerate(weights / weights.sum())}
        chosen, before = Blend(shares).take(1500)
        taken = np.cumsum(chosen[:, None] == np.arange(number), axis=0)
        asked = np.arange(1, 1501)[:, None] * np.array(list(shares.values()))
        assert np.abs(taken - asked).max() <= 1.0
        assert list(before) == [taken[i, c] - 1 for i, c in enumerate(chosen)]


def test_the_largest_deficit_first_would_leave_the_bound() -> None:
    """Why the blend is not the obvious one."""
    rng = np.random.default_rng(8)
    worst = 0.0
    for _ in range(40):
        shares = rng.dirichlet(np.full(8, 0.3))
        counts = np.zeros(8)
        for n in range(1, 400):
            counts[(shares * n - counts).argmax()] += 1
            worst = max(worst, float(np.abs(counts - shares * n).max()))
    assert worst > 1.0


def test_the_blend_goes_on_from_counts_alone() -> None:
    shares = {"a": 0.5, "b": 0.3, "c": 0.2}
    whole = Blend(shares)
    expected = whole.take(1000)
    first = Blend(shares)
    first.take(317)
    second = Blend(shares, first.counts)
    again = second.take(683)
    assert (again[0] == expected[0][317:]).all() and (again[1] == expected[1][317:]).all()
    assert second.counts == whole.counts
