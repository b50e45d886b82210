from __future__ import annotations

import random

import pytest

from contracts.errors import ConfigError
from tasks.data import SKILLS, draw, heldout, heldout_items, items_in, side_of
from tasks.data.skills import HELDOUT_SHARE, addition, reversal


@pytest.mark.parametrize(
    ("a", "b", "steps", "answer"),
    [(47, 85, "7+5=12\n4+8+1=13", "132"), (12, 34, "2+4=6\n1+3+0=4", "46"), (99, 99, "9+9=18\n9+9+1=19", "198")],
)
def test_a_sum_is_worked_column_by_column(a: int, b: int, steps: str, answer: str) -> None:
    item = addition(a, b)
    assert (item.question, item.steps, item.answer) == (f"What is {a}+{b}?", steps, answer)


def test_every_worked_sum_leads_to_its_answer() -> None:
    for a in range(10, 100):
        for b in range(10, 100):
            item = addition(a, b)
            units, tens = (line.split("=")[1] for line in item.steps.split("\n"))
            assert tens + units[-1] == item.answer == str(a + b)


def test_a_reversal_keeps_leading_zeros() -> None:
    assert reversal("0120").answer == "0210" and reversal("0120").steps == "0 2 1 0"


@pytest.mark.parametrize("skill", list(SKILLS))
def test_heldout_items_are_never_drawn_for_training(skill: str) -> None:
    rng = random.Random(1)
    kept = {item.key for item in heldout_items(skill, 400, seed=0)}
    trained = [draw(skill, rng, heldout=False) for _ in range(4000)]
    assert not any(heldout(item) or item.key in kept for item in trained)


def test_items_that_give_each_other_away_are_on_the_same_side() -> None:
    assert all(heldout(addition(a, b)) == heldout(addition(b, a)) for a in range(10, 100) for b in range(10, 100))
    numbers = [f"{n:05d}" for n in range(0, 100_000, 37)]
    assert all(heldout(reversal(text)) == heldout(reversal(text[::-1])) for text in numbers)


def test_the_share_that_is_held_out() -> None:
    sums = [heldout(addition(a, b)) for a in range(10, 100) for b in range(10, 100)]
    assert abs(sum(sums) / len(sums) - HELDOUT_SHARE) < 0.02


@pytest.mark.parametrize("skill", list(SKILLS))
def test_heldout_items_are_different_and_follow_the_seed(skill: str) -> None:
    items = heldout_items(skill, 300, seed=3)
    assert len({item.question for item in items}) == 300 and all(heldout(item) for item in items)
    assert heldout_items(skill, 40, seed=3) == items[:40] and heldout_items(skill, 40, seed=4) != items[:40]


@pytest.mark.parametrize("skill", list(SKILLS))
def test_what_is_read_at_release_never_steers_a_decision(skill: str) -> None:
    steering = {item.key for item in heldout_items(skill, 300, 0, "validation")}
    assert not steering & {item.key for item in heldout_items(skill, 300, 1, "test")}
    assert {side_of(item) for item in heldout_items(skill, 20, 0, "test")} == {"test"}


def test_more_items_than_there_are_is_refused() -> None:
    with pytest.raises(ConfigError, match="held-out items for test, 900 were asked for"):
        heldout_items("add", 900, 0, "test")


@pytest.mark.parametrize(
    ("text", "questions"),
    [
        ("What is 47+85?", ["What is 47+85?"]),
        ("work out 47 + 85 now", ["What is 47+85?"]),
        ("Reverse 9420. Then reverse: 12345", ["Reverse 9420.", "Reverse 12345."]),
        ("7+5=12 4+8+1=13 147+85 47+853 2.47+85", ["What is 47+85?"]),
        ("reverse 123", []),
        ("05+12", []),
    ],
)
def test_items_are_found_in_any_text(text: str, questions: list[str]) -> None:
    assert [item.question for item in items_in(text)] == questions


def test_an_unknown_skill_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="no generated skill 'ad'"):
        draw("ad", random.Random(0), heldout=False)
