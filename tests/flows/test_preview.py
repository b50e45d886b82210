"""The dry run: what would be done, said to a person and to a program, from the planner that a launch asks; nothing is made by it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from contracts.errors import GateError
from flows.desk import Desk
from flows.explain import explain
from flows.preview import preview

SHORTER = ["training.phases.stable.tokens=40_960"]
UNJUSTIFIED = "purpose.motive=we_have_compute"
GONE = ["data.sources.0.kind=files", "data.sources.0.collection=null", "data.sources.0.packages=null", "data.sources.0.path=nowhere"]
WAIVED = "waivers=[{gate: compass, reason: a test of the preview}]"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with an empty store."""
    monkeypatch.setenv("SMOLFLOW_HOME", str(tmp_path))
    return tmp_path


def lines(recipe: str, overrides: Sequence[str] = ()) -> list[list[str]]:
    """The words of each line for a person."""
    return [line.split() for line in preview(Desk.of(recipe, overrides)).text.splitlines()]


def test_every_stage_stands_there_with_its_outlook_as_explain_has_it(home: Path) -> None:
    desk = Desk.of("smoke")
    found = preview(desk)
    assert found.data["stages"] == [asdict(reason) for reason in explain(desk)]
    shown = found.text.split("\nstages\n")[1].splitlines()
    assert [line.split()[:2] for line in shown] == [[node.name, "runs"] for node in desk.plan]
    assert not list((home / "store").glob("artifacts/*")) and not list((home / "store").glob("workspaces/*"))


def test_a_program_reads_the_recipe_and_the_plan_that_a_person_sees() -> None:
    desk = Desk.of("smoke", SHORTER)
    data: dict[str, Any] = json.loads(json.dumps(preview(desk).data))
    assert data["recipe"] == desk.plan.recipe.model_dump(mode="json")
    assert set(data) == {"recipe", "plan", "courts", "stages"} and data["courts"] == []
    (stable,) = (words for words in lines("smoke", SHORTER) if words[:1] == ["stable"] and "constant" in words)
    assert stable[1:4] == ["40", "40", "40.96k"], "steps, the step it ends at, tokens"


def test_courts_and_steps_after_pretraining_are_told_before_the_stages() -> None:
    desk = Desk.of("tiny")
    found = preview(desk)
    assert len(found.data["courts"]) == 1
    before, after = found.text.split("\nafter pretraining\n")
    assert "muon" in before and "kv-heads-4" in before
    told = [line.split()[0] for line in after.split("\n\n")[0].splitlines()]
    assert set(told) >= {"sft-main", "sft-add", "sft-reverse", "preference-main", "reinforcement-main", "merge", "specialists"}
    assert {row["stage"]: row["verdict"] for row in found.data["stages"]}["train-stable"] == "undecided"
    assert "after pretraining" not in preview(Desk.of("smoke")).text


def test_what_blocks_a_plan_is_raised_after_all_of_it_was_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(GateError, match="'we_have_compute' does not justify training"):
        preview(Desk.of("smoke", [UNJUSTIFIED]))
    shown = capsys.readouterr()
    assert "'we_have_compute' does not justify training" in shown.err and "train-stable" in shown.err and shown.out == ""


def test_a_waived_gate_blocks_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert "'we_have_compute' does not justify training" in preview(Desk.of("smoke", [UNJUSTIFIED, WAIVED])).text
    assert capsys.readouterr().err == ""


def test_sources_beyond_reach_leave_the_stages_without_an_outlook() -> None:
    found = preview(Desk.of("smoke", GONE)).data["stages"]
    assert {row["verdict"] for row in found} == {"planned"} and {row["fingerprint"] for row in found} == {""}
    assert [row["because"] for row in found] == [["nothing is there"]] + [[]] * (len(found) - 1)
