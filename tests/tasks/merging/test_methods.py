"""Candidates as mergekit documents: what every method is told, and grids."""

from __future__ import annotations

from pathlib import Path

import pytest

from contracts.errors import ConfigError
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
