"""Gates stop the line: each has an input that it refuses, a refusal holds on the next run too, and a waiver needs its reason."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from contracts.errors import ConfigError, GateError, ResourceError, StageError
from flows.desk import Desk
from flows.explain import explain
from flows.gate import before_the_run, judge, require_measured
from flows.plan import Node
from flows.recipe import WAIVABLE, load
from flows.stage import Watch, already_there, perform
from infra.store import Artifact, ArtifactMissing
from tasks.posttraining import APPROVAL, Cell, SkillScores
from tests.deployments.released import leave

WATCH = Watch(logging.getLogger("test"), lambda done, total, note: None)
GATES_OF_STAGES = {
    "documents", "tokenizer-fertility", "epochs", "qualification", "contamination", "chat-data", "regression", "form", "merge",
    "heldout-reads",
}  # fmt: skip
ONE_SOURCE = """
- {name: own, kind: files, path: PATH, language: null, filters: none, heldout: {share: 0.2}}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Iterator[Path]:
    """smoke over a folder of small texts."""
    texts = tmp_path / "texts"
    texts.mkdir()
    for module in sorted(Path(argparse.__file__).parent.glob("[a-d]*.py"))[:40]:  # real text that every Python has: its own library
        (texts / f"{module.stem}.txt").write_text(module.read_text()[:4000])
    base = load("smoke").override(
        [
            f"data.sources={ONE_SOURCE.replace('PATH', str(texts))}",
            *(f"training.phases.{phase}.mixture={{own: 1.0}}" for phase in ("stable", "decay")),
            "tokenizer.vocab_size=512",
            "tokenizer.mixture={}",
            "model.vocab_size=512",
        ]
    )
    path = tmp_path / "own.yaml"
    path.write_text(base.to_yaml())
    yield path


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home of its own."""
    monkeypatch.setenv("SMOLFLOW_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SMOLFLOW_SITE", raising=False)


def run_until(desk: Desk, stage: str) -> None:
    """Perform every stage up to `stage`."""
    for node in desk.plan:
        perform(node, desk, WATCH)
        if node.name == stage:
            return


@pytest.mark.usefixtures("site")
def test_repeated_text_is_refused_until_waived(recipe: Path) -> None:
    much = ["training.phases.stable.tokens=40960000"]
    desk = Desk.of(str(recipe), much)
    run_until(desk, "tokenizer")
    node = desk.plan.node("tokenize")
    with pytest.raises(GateError, match="epochs"):
        perform(node, desk, WATCH)
    with pytest.raises(GateError, match="epochs"):
        already_there(node, desk)
    with pytest.raises(GateError, match="epochs"):
        perform(desk.plan.node("train-stable"), desk, WATCH)
    waived = Desk.of(str(recipe), [*much, "waivers=[{gate: epochs, reason: a test of repetition}]"])
    assert already_there(waived.plan.node("tokenize"), waived)
    artifact = waived.store.require("tokenize", waived.plan.node("tokenize").fingerprint)
    assert waived.store.records(artifact)["gate-epochs"]["waiver"] == "a test of repetition"


@pytest.mark.usefixtures("site")
def test_a_tokenizer_that_does_not_fit_is_refused_and_a_looser_bound_checks_again(recipe: Path) -> None:
    strict = Desk.of(str(recipe), ["tokenizer.min_bytes_per_token=50"])
    with pytest.raises(GateError, match="tokenizer-fertility"):
        run_until(strict, "tokenizer")
    desk = Desk.of(str(recipe))
    assert desk.plan.node("tokenizer").fingerprint == strict.plan.node("tokenizer").fingerprint
    assert already_there(desk.plan.node("tokenizer"), desk)


@pytest.mark.usefixtures("site")
def test_a_source_that_its_filters_empty_is_refused(recipe: Path) -> None:
    desk = Desk.of(str(recipe), ["data.sources.own.language=de"])
    with pytest.raises(GateError, match=r"documents.*own"):
        run_until(desk, "curate")


@pytest.mark.usefixtures("site")
def test_a_manifest_names_the_gates_it_relies_on(recipe: Path) -> None:
    desk = Desk.of(str(recipe))
    run_until(desk, "tokenizer")
    manifest = desk.store.require("tokenizer", desk.plan.node("tokenizer").fingerprint).manifest
    assert manifest.evidence["gates_relied_on"] == ["gate curate/documents: passed"]


@pytest.mark.usefixtures("site")
def test_compass_refuses_before_anything_runs() -> None:
    with pytest.raises(GateError, match="motive"):
        list(before_the_run(Desk.of("smoke", ["purpose.motive=we_have_compute"]), "cpu"))


@pytest.mark.usefixtures("site")
def test_a_machine_too_small_is_said_before_the_run() -> None:
    huge = ["model.hidden_size=16384", "model.ffn_hidden_size=65536", "model.num_layers=80"]
    with pytest.raises(ResourceError, match="GiB"):
        list(before_the_run(Desk.of("smoke", huge), "cpu"))


@pytest.mark.usefixtures("site")
def test_a_recipe_for_gpus_is_not_sent_to_cpus() -> None:
    with pytest.raises(ResourceError, match="h100"):
        list(before_the_run(Desk.of("smollm3-3b"), "cpu"))


@pytest.mark.usefixtures("site")
@pytest.mark.parametrize("named", ["ruler", "multiply", "add/twice"])
def test_a_merge_judged_by_what_nothing_measures_is_refused_before_the_run(named: str) -> None:
    with pytest.raises(GateError, match=f"merge: nothing measures {named},"):
        list(before_the_run(Desk.of("smoke-post", [f"merging.required_tasks=[add/think, reverse, {named}]"]), "cpu"))


def test_the_merge_of_smollm3_is_judged_by_what_it_measures() -> None:
    require_measured(load("smollm3-3b"))
    with pytest.raises(GateError, match="merge: nothing measures ruler,"):
        require_measured(load("smollm3-3b", ["posttraining.evaluation.tasks=[gsm_plus]", "posttraining.evaluation.attempts={}"]))


@pytest.mark.usefixtures("site")
def test_a_longer_context_without_recall_in_the_panel_is_refused_until_waived() -> None:
    longer = ["model.max_sequence_length=256", "training.phases.decay.sequence_length=256"]
    with pytest.raises(GateError, match=r"recall: training goes from 128 to 256 tokens.* no more than 32"):
        list(before_the_run(Desk.of("smoke-post", longer), "cpu"))
    list(before_the_run(Desk.of("smoke-post", [*longer, "posttraining.evaluation.tasks=[recall_192]"]), "cpu"))
    list(before_the_run(Desk.of("smoke-post", [*longer, "waivers=[{gate: recall, reason: nothing here measures it}]"]), "cpu"))


UNCHECKED = {"data.contamination_ngram": "0", "evaluation.contamination_ngram": "null", "posttraining.contamination_ngram": "0"}
WAIVED = "waivers=[{gate: contamination, reason: the same text on purpose}]"


@pytest.mark.usefixtures("site")
@pytest.mark.parametrize("field", UNCHECKED)
def test_a_comparison_with_heldout_text_is_not_turned_off_in_silence(field: str) -> None:
    off = f"{field}={UNCHECKED[field]}"
    with pytest.raises(GateError, match=rf"(?s)contamination: nothing is compared.*, by {field}.*or waive 'contamination' with a reason"):
        list(before_the_run(Desk.of("smoke-post", [off]), "cpu"))
    said = list(before_the_run(Desk.of("smoke-post", [off, WAIVED]), "cpu"))
    assert "gate contamination: waived (the same text on purpose)" in said
    assert not any("contamination" in line for line in before_the_run(Desk.of("smoke-post"), "cpu"))


@pytest.mark.usefixtures("site")
def test_what_nothing_was_compared_with_is_refused_until_waived(tmp_path: Path) -> None:
    """After the stage too: its manifest may be of a run that was waived."""
    off = "posttraining.contamination_ngram=0"
    desk = Desk.of("smoke-post", [off])
    (tmp_path / "chat").mkdir()
    leave(desk, "chat", tmp_path / "chat", evidence={"steps": {}})
    with pytest.raises(GateError, match="contamination: contamination_ngram is 0"):
        already_there(desk.plan.node("chat"), desk)
    waived = Desk.of("smoke-post", [off, WAIVED])
    node = waived.plan.node("chat")
    assert already_there(node, waived)
    record = waived.store.records(waived.store.require("chat", node.fingerprint))["gate-contamination"]
    assert (record["verdict"], record["waiver"]) == ("waived", "the same text on purpose")
    checked = Desk.of("smoke-post")
    leave(checked, "chat", tmp_path / "chat", evidence={"steps": {}})
    assert already_there(checked.plan.node("chat"), checked)
    records = checked.store.records(checked.store.require("chat", checked.plan.node("chat").fingerprint))
    assert "gate-contamination" not in records, "a check that is on says so in the manifest"


@pytest.mark.usefixtures("site")
def test_a_given_input_that_is_not_there_is_never_made(recipe: Path) -> None:
    desk = Desk.of(str(recipe), pinned={"source": "0" * 32})
    with pytest.raises(ArtifactMissing, match="source"):
        perform(desk.plan.node("source"), desk, WATCH)
    assert desk.store.artifacts() == []


@pytest.mark.usefixtures("site")
def test_an_input_of_an_unknown_stage_is_refused(recipe: Path) -> None:
    with pytest.raises(ConfigError, match="tokeniser"):
        _ = Desk.of(str(recipe), pinned={"tokeniser": "0" * 32}).plan


def test_only_known_gates_can_be_waived() -> None:
    with pytest.raises(ConfigError, match="did you mean 'epochs'"):
        load("smoke", ["waivers=[{gate: epoch, reason: none}]"])
    with pytest.raises(ConfigError, match="parity"):
        load("smoke", ["waivers=[{gate: parity, reason: none}]"])
    assert {"compass", "recall", *(GATES_OF_STAGES)} == set(WAIVABLE)


@pytest.mark.usefixtures("site")
def test_a_waived_compass_is_said() -> None:
    waived = ["purpose.motive=we_have_compute", "waivers=[{gate: compass, reason: a test}]"]
    assert "gate compass: waived (a test)" in list(before_the_run(Desk.of("smoke", waived), "cpu"))


@pytest.mark.usefixtures("site")
def test_explain_tells_a_refusal(recipe: Path) -> None:
    run_until(Desk.of(str(recipe)), "tokenizer")
    rows = {row.stage: row for row in explain(Desk.of(str(recipe), ["tokenizer.min_bytes_per_token=50"]))}
    assert rows["curate"].verdict == "reused"
    assert rows["tokenizer"].verdict == "refused"
    assert "bytes a token" in rows["tokenizer"].because[0]


@pytest.mark.usefixtures("site")
def test_text_that_changes_between_plan_and_copy_is_not_committed(recipe: Path) -> None:
    desk = Desk.of(str(recipe))
    node = desk.plan.node("source")
    planned = node.fingerprint
    (recipe.parent / "texts" / "late.txt").write_text("this page was written after the plan was made")
    with pytest.raises(StageError, match="changed while it was copied"):
        perform(node, desk, WATCH)
    assert desk.store.artifacts() == []
    again = Desk.of(str(recipe))
    perform(again.plan.node("source"), again, WATCH)
    assert again.plan.node("source").fingerprint != planned


def measured(desk: Desk, stage: str, out: Path, right: dict[str, int], formed: int = 40, side: str = "validation") -> Node:
    """Leave a measurement of 40 greedy answers a skill, of which so many are right, and in form."""
    out.mkdir()
    none = [0] * 40
    cells = [
        Cell(
            skill=skill, mode="think", decoding="greedy", correct=[1] * n + [0] * (40 - n), formatted=[1] * formed + [0] * (40 - formed),
            cut=none, tokens=none, reflections=none,
        )
        for skill, n in right.items()
    ]  # fmt: skip
    SkillScores.parse({"questions": "q", "side": side, "cells": [cell.model_dump() for cell in cells]}, stage).write(out)
    leave(desk, stage, out, evidence={"side": side})
    return desk.plan.node(stage)


@pytest.mark.usefixtures("site")
def test_a_step_is_held_to_each_skill_and_its_bounds_are_those_of_today(tmp_path: Path) -> None:
    """Planted: reversing is lost while adding is won, so that the mean rises."""
    step = "posttraining.sft.main.max_regression=0.05"
    desk = Desk.of("smoke-post", [step])
    measured(desk, "measure-pretrained", tmp_path / "before", {"add": 2, "reverse": 38})
    node = measured(desk, "measure-sft-main", tmp_path / "after", {"add": 40, "reverse": 10})
    with pytest.raises(GateError, match=r"regression: reverse/think/greedy alone fell from 0\.950 to 0\.250"):
        already_there(node, desk)
    loose = Desk.of("smoke-post", [step, "posttraining.sft.main.max_cell_regression=0.9"])
    assert already_there(loose.plan.node(node.name), loose)
    with pytest.raises(GateError, match="share no held-out text"):
        bound = Desk.of("smoke-post", [*loose.overrides, "posttraining.sft.main.max_bits_regression=0.5"])
        already_there(bound.plan.node(node.name), bound)


@pytest.mark.usefixtures("site")
def test_a_release_out_of_form_is_refused_where_the_recipe_asks_for_form(tmp_path: Path) -> None:
    asks = Desk.of("smoke-post", ["posttraining.evaluation.min_format=0.95"])
    node = measured(asks, "measure-release", tmp_path / "release", {"add": 40}, formed=30, side="test")
    with pytest.raises(GateError, match=r"form: 30 of 40 greedy answers in mode think are in form"):
        already_there(node, asks)
    other = Desk.of("smoke-post")
    artifact = other.store.require(node.name, other.plan.node(node.name).fingerprint)
    assert list(judge(other.plan.node(node.name), artifact, other)) == ["gate measure-release/regression: passed"]


@pytest.fixture
def vibed(site: None, tmp_path: Path) -> tuple[Desk, Node, Artifact]:
    """smoke-post where a person must approve the vibe check, which is in the store."""
    desk = Desk.of("smoke-post", ["posttraining.vibe.approval=true"])
    node = desk.plan.node("vibe")
    (tmp_path / "vibe").mkdir()
    (tmp_path / "vibe" / "vibe.json").write_text('{"talks": []}')
    with desk.store.begin("vibe", node.workspace_key) as workspace:
        artifact = workspace.commit(node.fingerprint, [workspace.put("result", tmp_path / "vibe")])
    return desk, node, artifact


def word(approved: bool) -> dict[str, object]:
    """What a person said."""
    return {"approved": approved, "by": "Ada", "remark": "no pirate", "at": "2026-01-01T00:00:00+00:00"}


def test_a_vibe_check_waits_for_a_person_and_a_refusal_names_who_and_why(vibed: tuple[Desk, Node, Artifact]) -> None:
    desk, node, artifact = vibed
    assert not already_there(node, desk), "the stage has to ask"
    with pytest.raises(GateError, match="vibe: nobody has approved the answers yet"):
        perform(node, desk, WATCH)

    def said(approved: bool) -> Watch:
        return replace(WATCH, present=lambda one: desk.store.put_record(one, APPROVAL, word(approved)))

    with pytest.raises(GateError, match="vibe: refused by Ada: no pirate"):
        perform(node, desk, said(False))
    assert not already_there(node, desk), "it asks again"
    (outlook,) = (one for one in explain(desk) if one.stage == "vibe")
    assert (outlook.verdict, outlook.because) == ("asks", ["refused by Ada: no pirate"])
    assert desk.store.records(artifact)["gate-vibe"]["verdict"] == "refused"
    perform(node, desk, said(True))
    assert already_there(node, desk), "an approval is kept"
    assert desk.store.records(artifact)["gate-vibe"]["verdict"] == "passed"


def test_without_a_say_nobody_is_waited_for_and_the_stage_is_the_same(vibed: tuple[Desk, Node, Artifact]) -> None:
    _, node, artifact = vibed
    other = Desk.of("smoke-post")
    assert other.plan.node("vibe").fingerprint == node.fingerprint
    assert already_there(other.plan.node("vibe"), other)
    assert "gate-vibe" not in other.store.records(artifact), "a gate that was not asked says nothing"
    assert other.plan.node("release").inputs["vibe"] is other.plan.node("vibe"), "a release rests on it"
