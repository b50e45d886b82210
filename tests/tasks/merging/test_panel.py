"""The panel: the weakest skill decides, by interval; what is level goes to the simpler model; what was not measured never wins."""

from __future__ import annotations

from typing import Any

import pytest
from scipy.stats import binomtest

from contracts.errors import GateError
from tasks.merging.config import MergingConfig
from tasks.merging.panel import Contestant, Panel, Share, merge_problems, rank

NOTES: dict[str, tuple[bool, float, float]] = {
    "sft": (False, 0.83, 0.05), "a": (False, 0.98, 0.01), "b": (False, 0.35, 1.0), "linear": (True, 0.89, 0.52),
    "dare": (True, 0.87, 0.69), "arithmetic": (True, 0.81, 0.78), "ties": (True, 0.64, 0.91),
}  # fmt: skip
"""Two specialists and their merges, n = 300: think mode of one seed as it was measured at 0.85 M parameters."""


def config(**more: Any) -> MergingConfig:
    inputs = [{"stage": "a", "weight": 0.5}, {"stage": "b", "weight": 0.5}]
    return MergingConfig.parse({"candidates": [{"name": "linear", "inputs": inputs}], "parents": ["a", "b"]} | more)


def one(name: str, merged: bool = False, items: int = 300, **shares: float) -> Contestant:
    cells = {cell.replace("__", "/"): (round(share * items), items) for cell, share in shares.items()}
    return Contestant(name=name, merged=merged, cells=cells)


def notes() -> list[Contestant]:
    return [one(name, merged, add__think=add, reverse__think=reverse) for name, (merged, add, reverse) in NOTES.items()]


def test_the_merge_that_keeps_both_skills_wins_although_specialists_are_better_at_one() -> None:
    panel = rank(notes(), config())
    assert panel.winner == "arithmetic" and panel.best.weakest == "reverse/think" and panel.best.merged
    assert [row.name for row in panel.standings][:2] == ["arithmetic", "dare"] and [row.name for row in panel.standings][-1] == "a"
    assert [row.name for row in panel.standings if row.level] == ["arithmetic", "dare"]  # .69 [.64, .74] reaches .78 [.73, .82]
    assert merge_problems({"panel": panel.model_dump(mode="json")}, config()) == []


def test_intervals_are_wilsons() -> None:
    found, exact = Share.of(234, 300), binomtest(234, 300).proportion_ci(0.95, method="wilson")
    assert (found.value, found.low, found.high) == (0.78, exact.low, exact.high)


def test_a_merge_that_is_not_measurably_better_gives_way_to_a_parent() -> None:
    parent, merge = one("a", add__think=0.80, reverse__think=0.80), one("linear", merged=True, add__think=0.82, reverse__think=0.83)
    panel = rank([merge, parent], config())
    assert panel.winner == "a" and "a parent as it is goes before a merge" in panel.why
    sure = rank([one("linear", merged=True, add__think=0.95, reverse__think=0.95), parent], config())
    assert sure.winner == "linear" and "that of no other model" in sure.why


def test_level_weakest_skills_are_decided_by_the_mean_where_it_tells() -> None:
    flat, peaked = one("a", add__think=0.6, reverse__think=0.6), one("linear", merged=True, add__think=0.58, reverse__think=0.99)
    panel = rank([flat, peaked], config())
    assert panel.winner == "linear" and "the mean over all required cells is above theirs" in panel.why


def test_among_merges_that_are_alike_the_highest_mean_wins_by_point() -> None:
    merges = [one(f"m{n}", merged=True, add__think=0.8 + n / 100, reverse__think=0.8) for n in range(3)]
    panel = rank(merges, config())
    assert panel.winner == "m2" and "its own is the highest, and no parent is among them" in panel.why


def test_what_is_required_decides_alone_and_a_skill_means_all_its_modes() -> None:
    hopeless = [one("a", add__think=0.9, add__no_think=0.05), one("linear", merged=True, add__think=0.99, add__no_think=0.04)]
    assert rank(hopeless, config(required_tasks=["add/think"])).winner == "linear"
    assert rank(hopeless, config(required_tasks=["add"])).required == ["add/think", "add/no_think"]
    assert rank(hopeless, config(required_tasks=["add"])).winner == "a"  # a mode that neither can do hides the other one


def test_a_model_that_was_not_measured_on_what_is_required_cannot_win() -> None:
    blind, whole = one("linear", merged=True, add__think=0.99), one("a", add__think=0.5, ruler=0.4)
    panel = rank([blind, whole], config(required_tasks=["add", "ruler"]))
    assert panel.winner == "a" and panel.standings[-1].missing == ["ruler"]
    assert rank([blind, whole], config()).winner == "a"  # nothing named: what one was measured on, all must be
    with pytest.raises(GateError, match="linear lacks ruler"):
        rank([blind], config(required_tasks=["add", "ruler"]))


def evidence(*contestants: Contestant, winner: str, **more: Any) -> dict[str, Any]:
    panel = rank(contestants, config(**more))
    return {"panel": panel.model_copy(update={"winner": winner}).model_dump(mode="json")}


def test_the_gate_refuses_a_winner_whose_weakest_skill_fell() -> None:
    parent, worse = one("a", add__think=0.8, reverse__think=0.8), one("linear", merged=True, add__think=0.9, reverse__think=0.6)
    found = evidence(parent, worse, winner="linear")
    problems = merge_problems(found, config())
    assert len(problems) == 1 and "reverse/think with 0.600" in problems[0] and "a drop of more than 0.02" in problems[0]
    assert merge_problems(found, config(max_regression=0.25)) == []  # a bound of today judges what was measured before
    small = one("linear", merged=True, add__think=0.8, reverse__think=0.77)
    assert merge_problems(evidence(parent, small, winner="linear"), config()) == []  # within its interval


def test_the_gate_refuses_a_winner_that_lost_what_was_not_required() -> None:
    """Planted: recall holds, and instructions are followed no more."""
    parent, merge = one("a", ruler=0.6, ifeval=0.8), one("linear", merged=True, ruler=0.7, ifeval=0.4)
    found = evidence(parent, merge, winner="linear", required_tasks=["ruler"])
    (problem,) = merge_problems(found, config())
    assert problem.startswith("ifeval of linear is at 0.400, of its parent a at 0.800: surely lost is 0.32")
    assert merge_problems(found, config(max_cell_regression=0.35)) == []
    alone = evidence(one("a", ruler=0.6, ifeval=0.8), one("linear", merged=True, ruler=0.7), winner="linear", required_tasks=["ruler"])
    assert merge_problems(alone, config()) == [], "what one of them was not asked says nothing"


def test_the_gate_refuses_a_winner_that_lacks_what_is_required_and_a_stage_without_a_panel() -> None:
    found = evidence(one("a", ruler=0.5, add=0.5), one("linear", merged=True, add=0.9), winner="linear", required_tasks=["ruler"])
    assert merge_problems(found, config(required_tasks=["ruler"])) == ["linear was not measured on ruler, which is required"]
    assert "no panel" in merge_problems({}, config())[0]


def test_a_panel_survives_its_file() -> None:
    panel = rank(notes(), config())
    assert Panel.parse(panel.model_dump(mode="json")) == panel
