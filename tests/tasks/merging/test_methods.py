"""Candidates as mergekit documents: what every method is told, and grids."""

from __future__ import annotations

from pathlib import Path

import pytest

from contracts.errors import ConfigError
from tasks.merging import merge_lines
from tasks.merging.config import NEEDS_BASE, Candidate, MergingConfig
from tasks.merging.methods import document, said

FOLDERS = {name: Path("/models") / f"{name}+1" for name in ("base", "a", "b")}
INPUTS = [{"stage": "a", "weight": 0.75, "density": 0.6}, {"stage": "b", "weight": 0.25, "density": 0.6}]


def candidate(method: str, **more: object) -> Candidate:
    given = {"name": "one", "method": method, "inputs": INPUTS, "base": "base" if method in NEEDS_BASE else ""}
    return Candidate.parse(given | more)


def test_each_method_is_told_what_it_needs_and_nothing_else() -> None:
    made = {name: document(candidate(name), FOLDERS, "float32", "bfloat16") for name in (*NEEDS_BASE, "linear", "slerp")}
    for name, one in made.items():
        assert (one["merge_method"], one["dtype"], one["out_dtype"]) == (name, "float32", "bfloat16")
        assert [model["model"]["model"]["path"] for model in one["models"]] == ["/models/a+1", "/models/b+1"]
    assert "base_model" not in made["linear"] and made["linear"]["models"][0]["parameters"] == {"weight": 0.75}
    assert made["slerp"]["base_model"] == {"model": {"path": "/models/a+1"}} and made["slerp"]["parameters"] == {"t": 0.25}
    assert made["ties"]["models"][1]["parameters"] == {"weight": 0.25, "density": 0.6} and made["ties"]["parameters"] == {"normalize": True}
    assert made["dare_linear"]["parameters"] == made["task_arithmetic"]["parameters"] == {"normalize": False}
    assert made["task_arithmetic"]["models"][0]["parameters"] == {"weight": 0.75} and made["model_stock"]["models"][0]["parameters"] == {}
    assert all(made[name]["base_model"] == {"model": {"path": "/models/base+1"}} for name in NEEDS_BASE)


def test_a_grid_becomes_one_merge_for_each_weight() -> None:
    grid = {"name": "soup", "method": "slerp", "inputs": INPUTS, "grid": [0.3, 0.5]}
    config = MergingConfig.parse({"candidates": [grid, candidate("ties").model_dump()]})
    assert [(one.name, said(one)) for one in config.merges()] == [
        ("soup-0.3", "slerp: 0.3 a + 0.7 b"),
        ("soup-0.5", "slerp: 0.5 a + 0.5 b"),
        ("one", "ties: 0.75 a (density 0.6) + 0.25 b (density 0.6), differences from base"),
    ]
    assert said(candidate("model_stock")) == "model_stock: a + b, differences from base"


def test_scales_and_densities_become_one_merge_for_each_pair() -> None:
    config = MergingConfig.parse({"candidates": [candidate("ties", scales=[0.5, 1], densities=[0.3, 0.8]).model_dump()]})
    assert [one.name for one in config.merges()] == ["one-s0.5-d0.3", "one-s0.5-d0.8", "one-s1-d0.3", "one-s1-d0.8"]
    first, *_, last = config.merges()
    assert said(first) == "ties: 0.75 a (density 0.3) + 0.25 b (density 0.3), differences from base, times 0.5"
    made = document(first, FOLDERS, "float32", "float32")
    assert made["parameters"] == {"normalize": True, "lambda": 0.5}, "mergekit's name of a factor that its averaging does not undo"
    assert [model["parameters"] for model in made["models"]] == [{"weight": 0.75, "density": 0.3}, {"weight": 0.25, "density": 0.3}]
    assert document(last, FOLDERS, "float32", "float32")["parameters"] == {"normalize": True}
    (alone,) = candidate("task_arithmetic", scales=[0.5]).expanded()
    assert (alone.name, alone.scale, alone.inputs) == ("one-s0.5", 0.5, candidate("task_arithmetic").inputs)


def test_the_plan_tells_how_many_merges_there_are_and_what_each_tries() -> None:
    tried = [candidate("ties", scales=[0.5, 1], densities=[0.3, 0.8]).model_dump(), {"name": "half", "inputs": INPUTS}]
    assert merge_lines(MergingConfig.parse({"candidates": tried, "parents": ["a"]})) == [
        "merge                  5 of at most 32 merges to make and measure, beside 1 parent",
        "  one                  4 merges, ties of a, b: scale 0.5, 1 x density 0.3, 0.8",
        "  half                 linear: 0.75 a + 0.25 b",
    ]


def test_more_merges_than_a_panel_bears_are_refused() -> None:
    many = candidate("ties", scales=[n / 10 for n in range(1, 12)], densities=[0.2, 0.4, 0.6]).model_dump()
    with pytest.raises(ConfigError, match="stand for 33 merges, more than 32"):
        MergingConfig.parse({"candidates": [many]})


@pytest.mark.parametrize(
    ("method", "changed", "said"),
    [
        ("linear", {"scales": [0.5]}, "linear has no scales to try"),
        ("model_stock", {"scales": [0.5]}, "model_stock has no scales to try"),
        ("task_arithmetic", {"densities": [0.5]}, "task_arithmetic has no densities to try"),
        ("task_arithmetic", {"grid": [0.5]}, "method linear or slerp"),
        ("dare_ties", {"densities": [0.5, 1.5]}, "at most 1"),
        ("ties", {"scales": [0.5, 0.5]}, "differ"),
        ("ties", {"scales": [0.5], "scale": 0.7}, "not beside `scales`"),
        ("slerp", {"scale": 0.7}, "`scale` belongs to"),
    ],
)
def test_a_number_that_a_method_has_not_is_refused(method: str, changed: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        candidate(method, **changed)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"grid": [0.3, 0.3]}, "differ"),
        ({"grid": [0.3, 1.0]}, "between 0 and 1"),
        ({"inputs": [INPUTS[0], INPUTS[0]], "grid": [0.5]}, "twice"),
        ({"inputs": [INPUTS[0], {"stage": "b", "weight": 0.15}, {"stage": "a", "weight": 0.1}]}, "twice"),
        ({"inputs": [{"stage": "a"}, {"stage": "b"}]}, "sum to 1"),
    ],
)
def test_a_candidate_that_means_nothing_is_refused(changed: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        candidate("linear", **changed)


def test_a_point_of_a_grid_may_not_be_called_like_another_model() -> None:
    grid = {"name": "soup", "inputs": INPUTS, "grid": [0.3]}
    with pytest.raises(ConfigError, match="same name"):
        MergingConfig.parse({"candidates": [grid, {"name": "soup-0", "inputs": INPUTS}, {"name": "x", "inputs": INPUTS}], "parents": ["x"]})
