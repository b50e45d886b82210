"""The stage `merge` from parents to the winner's folder, with real merges and real measurements of tiny models."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from contracts.errors import ConfigError, GateError
from tasks.merging import MergeRequest, Panel, merge_problems
from tasks.merging.anatomy import dissect, own_problems
from tasks.merging.body import merge_and_choose
from tasks.posttraining import SkillScores, read_skills
from tests.tasks.merging.material import edited, tensors

ROOT = Path(__file__).resolve().parents[3]
HALF = {"name": "soup", "inputs": [{"stage": "sft-a", "weight": 0.5}, {"stage": "sft-b", "weight": 0.5}], "grid": [0.25, 0.75]}
DARE = {
    "name": "dare", "method": "dare_linear", "base": "pretrained",
    "inputs": [{"stage": "sft-a", "weight": 0.6, "density": 0.8}, {"stage": "sft-b", "weight": 0.6, "density": 0.8}],
}  # fmt: skip


def request(**merging: Any) -> MergeRequest:
    given = {"candidates": [HALF, DARE], "parents": ["sft-a", "sft-b"], "required_tasks": ["add/think"], "output_dtype": "float32"}
    evaluation = {"skills": ["add"], "items": 6, "max_answer_tokens": 4, "batch_size": 8, "tasks": ["recall_32"], "task_items": 4}
    return MergeRequest.parse({"merging": given | merging, "template": {"kind": "smollm3"}, "evaluation": evaluation})


def noted() -> tuple[list[tuple[float, float, str]], Any]:
    lines: list[tuple[float, float, str]] = []
    return lines, lambda done, total, note="": lines.append((done, total, note))


def rigged(measured: Path, right: int) -> None:
    """Say in a measurement that the first `right` answers of every cell were right."""
    scores = read_skills(measured)
    cells = [cell.model_copy(update={"correct": [int(n < right) for n in range(cell.items)]}) for cell in scores.cells]
    scores.model_copy(update={"cells": cells}).write(measured)


@pytest.fixture(scope="module")
def merged(family: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, list[tuple[float, float, str]]]:
    """A panel of random models: none can do anything, so that nothing can be told apart."""
    out = tmp_path_factory.mktemp("merge") / "out"
    out.mkdir()
    lines, progress = noted()
    return out, merge_and_choose(request(), family, out, progress), lines


def test_every_contestant_is_on_the_panel_and_the_simplest_wins_where_all_are_alike(merged: Any, family: dict[str, Path]) -> None:
    out, summary, lines = merged
    panel = Panel.parse(json.loads((out / "panel.json").read_text()))
    assert {row.name for row in panel.standings} == {"sft-a", "sft-b", "soup-0.25", "soup-0.75", "dare"}
    assert panel.winner in ("sft-a", "sft-b") and "a parent as it is goes before a merge" in panel.why
    assert all(
        set(row.cells) == {"add/think", "add/no_think", "recall_32"} and row.cells["add/think"].items == 6 for row in panel.standings
    )
    assert summary.evidence["made_of"] == [panel.winner] and merge_problems(summary.evidence, request().merging) == []
    assert summary.counts == {"candidates": 3, "contestants": 5, "items": 16}
    winner, left = tensors(family[panel.winner]), tensors(out)
    assert all(torch.equal(winner[name], left[name]) for name in winner) and own_problems(dissect(out)) == []
    assert isinstance(read_skills(out), SkillScores) and not (out.parent / "candidates").exists()
    assert lines[-1][0] == lines[-1][1] and any("merging soup-0.75" in note for _, _, note in lines)


def test_a_merge_that_wins_is_left_as_it_was_measured_and_parents_are_not_measured_twice(
    merged: Any, family: dict[str, Path], tmp_path: Path
) -> None:
    inputs = dict(family)
    for stage in ("sft-a", "sft-b"):
        inputs[f"measure.{stage}"] = shutil.copytree(merged[0], tmp_path / stage, ignore=shutil.ignore_patterns("*.safetensors"))
        rigged(inputs[f"measure.{stage}"], 0)
    (tmp_path / "out").mkdir()
    summary = merge_and_choose(request(parents=[]), inputs, tmp_path / "out", lambda *_: None)  # no rival but merges
    panel = Panel.parse(summary.evidence["panel"])
    assert panel.best.merged and summary.evidence["made_of"][:2] == ["sft-a", "sft-b"]
    assert own_problems(dissect(tmp_path / "out")) == [] and (tmp_path / "out" / "chat_template.jinja").is_file()
    (tmp_path / "again").mkdir()
    panel = Panel.parse(merge_and_choose(request(candidates=[HALF]), inputs, tmp_path / "again", lambda *_: None).evidence["panel"])
    assert [row.cells["add/think"].correct for row in panel.standings if not row.merged] == [0, 0]


def test_a_measurement_of_other_questions_is_taken_anew(merged: Any, family: dict[str, Path], tmp_path: Path) -> None:
    inputs = dict(family)
    for stage, questions in (("sft-a", "others"), ("sft-b", None)):
        inputs[f"measure.{stage}"] = tmp_path / stage
        (tmp_path / stage).mkdir()
        scores = read_skills(merged[0])
        scores.model_copy(update={"questions": questions or scores.questions}).write(tmp_path / stage)
        rigged(tmp_path / stage, 6)
    (tmp_path / "out").mkdir()
    found = merge_and_choose(request(candidates=[DARE]), inputs, tmp_path / "out", lambda *_: None)
    panel = Panel.parse(found.evidence["panel"])
    rows = {row.name: row.cells["add/think"].correct for row in panel.standings}
    assert rows["sft-a"] == 0 and rows["sft-b"] == 6 and panel.winner == "sft-b"
    assert merge_problems(found.evidence, request().merging) == []


def test_what_cannot_work_is_refused_before_anything_is_computed(family: dict[str, Path], tmp_path: Path) -> None:
    lines, progress = noted()
    bad = edited(family["sft-b"], tmp_path / "nan", lambda held: held["model.norm.weight"].fill_(float("inf")))
    for given, inputs, error, what in (
        (request(), family | {"sft-b": bad}, GateError, "not finite"),
        (request(), {"sft-a": family["sft-a"]}, ConfigError, "no model of sft-b, pretrained"),
        (request(required_tasks=["add", "ruler"]), family, ConfigError, "nothing measures ruler"),
    ):
        with pytest.raises(error, match=what):
            merge_and_choose(given, inputs, tmp_path / "out", progress)
    assert lines == [] and not (tmp_path / "out").exists()
