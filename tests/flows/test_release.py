"""The release at the end of a line: where it is shown, that it is registered, and that its test items were read once."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from mlflow import MlflowClient

from contracts.errors import ConfigError, GateError, ResourceError
from flows import release
from flows.desk import Desk
from flows.gate import before_the_run, judge
from flows.recipe import load
from flows.registry import register
from flows.results import final_model
from infra.site import Site
from tasks.posttraining import Cell, SkillScores
from tests.deployments.released import CARD, RECIPE, leave
from tests.servers import local_site, mlflow_server  # noqa: F401

LOG = logging.getLogger("test")


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A store in which a merge and its release stand, as files alone."""
    monkeypatch.setenv("SMOLFLOW_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SMOLFLOW_SITE", raising=False)
    desk = Desk.of(RECIPE)
    leave(desk, "merge", folder(tmp_path / "merge", "config.json", "{}"), evidence={"panel": {"winner": "half"}})
    files = folder(tmp_path / "release", "README.md", CARD)
    leave(desk, "release", files, metrics={"accuracy/greedy": 0.5}, evidence={"shaped": ["sft-main", "merge"]})
    return desk


def folder(path: Path, name: str, text: str) -> Path:
    path.mkdir()
    (path / name).write_text(text)
    return path


def measure(desk: Desk, stage: str, tmp_path: Path, side: str = "test", questions: str = "q") -> None:
    """Leave a measurement and ask its gates, as a run does."""
    cell = Cell(skill="add", mode="think", decoding="greedy", correct=[1], formatted=[1], cut=[0], tokens=[9], reflections=[0])
    scores = SkillScores.parse({"questions": questions, "side": side, "cells": [cell.model_dump()]}, stage)
    out = tmp_path / stage
    out.mkdir()
    scores.write(out)
    artifact = leave(desk, stage, out, evidence={"side": side})
    list(judge(desk.plan.node(stage), artifact, desk))


def verdict(desk: Desk) -> list[str]:
    node = desk.plan.node("release")
    return list(judge(node, desk.store.require(node.name, node.fingerprint), desk))


def test_a_release_that_was_read_once_passes(desk: Desk, tmp_path: Path) -> None:
    measure(desk, "measure-release", tmp_path)
    assert verdict(desk) == ["gate release/heldout-reads: passed"]
    merged = desk.store.require("merge", desk.plan.node("merge").fingerprint)
    (record,) = [one for name, one in desk.store.records(merged).items() if name.startswith("heldout-read-")]
    assert record["model"] == merged.fingerprint and record["why"] == "measure-release"


def test_a_release_that_was_never_read_is_refused(desk: Desk) -> None:
    with pytest.raises(GateError, match="was not measured on the test items"):
        verdict(desk)


def test_test_items_that_another_model_of_the_line_answered_are_refused_until_waived(desk: Desk, tmp_path: Path) -> None:
    leave(desk, "convert", folder(tmp_path / "base", "config.json", "{}"))
    measure(desk, "measure-pretrained", tmp_path)
    measure(desk, "measure-release", tmp_path)
    with pytest.raises(GateError, match="read for 1 other model"):
        verdict(desk)
    waived = Desk.of(RECIPE, ["waivers=[{gate: heldout-reads, reason: said on the card}]"])
    assert verdict(waived) == ["gate release/heldout-reads: waived (said on the card)"]


def test_validation_items_leave_no_record(desk: Desk, tmp_path: Path) -> None:
    leave(desk, "convert", folder(tmp_path / "base", "config.json", "{}"))
    measure(desk, "measure-pretrained", tmp_path, side="validation")
    measure(desk, "measure-release", tmp_path)
    assert verdict(desk) == ["gate release/heldout-reads: passed"]


GGUF = "release={formats: [safetensors, gguf], gguf_precision: q8_0}"


def test_a_recipe_that_asks_for_gguf_has_it_written_and_is_another_release(desk: Desk, tmp_path: Path) -> None:
    asked = Desk.of(RECIPE, [GGUF])
    node, nothing = asked.plan.node("release"), folder(tmp_path / "empty", "skills.json", "{}")
    for one in asked.plan.upstream(node):
        if one.name != "merge":
            leave(asked, one.name, nothing)
    config, folders = release.request(node, asked)
    assert (config.formats, config.gguf_precision, config.released) == (["safetensors", "gguf"], "q8_0", "merge") and "model" in folders
    assert release.request(desk.plan.node("release"), desk)[0].formats == ["safetensors"]
    assert node.fingerprint != desk.plan.node("release").fingerprint
    assert node.recorded()["config"]["gguf"] == "q8_0"


def test_a_release_without_gguf_is_the_same_with_and_without_the_section(desk: Desk) -> None:
    said = Desk.of(RECIPE, ["release={formats: [safetensors], gguf_precision: f16}"])
    assert [node.fingerprint for node in said.plan] == [node.fingerprint for node in desk.plan]
    assert "gguf" not in desk.plan.node("release").recorded()["config"]


def test_gguf_is_refused_before_the_run_where_its_converter_is_not(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LLAMA_CPP", raising=False)
    asked = Desk.of(RECIPE, [GGUF, "model.no_rope_every=0"])
    with pytest.raises(ResourceError, match=r"convert_hf_to_gguf.py is not here.*\n?.*LLAMA_CPP"):
        list(before_the_run(asked, "cpu"))
    list(before_the_run(desk, "cpu"))
    (tmp_path / "convert_hf_to_gguf.py").write_text("")
    monkeypatch.setenv("LLAMA_CPP", str(tmp_path))
    with pytest.raises(ConfigError, match="takes every 4th for them"):
        list(before_the_run(Desk.of(RECIPE, [GGUF]), "cpu"))  # its every second layer has no rotary positions
    assert not any("gguf" in line for line in before_the_run(asked, "cpu")), "a tokenizer trained here is no matter"


def test_a_release_section_that_means_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="only a recipe with `posttraining` releases a model"):
        load("smoke", [GGUF])
    with pytest.raises(ConfigError, match=r"release\.formats"):
        load(RECIPE, ["release={formats: [pickle]}"])


def test_the_final_model_is_the_released_one_with_its_card(desk: Desk) -> None:
    model = final_model(desk)
    assert model == desk.site.home / "results" / RECIPE / "model" and (model / "README.md").read_text() == CARD


def test_without_post_training_it_is_the_converted_one(desk: Desk, tmp_path: Path) -> None:
    plain = Desk.of("smoke")
    (tmp_path / "convert").mkdir()
    folder(tmp_path / "convert" / "model", "config.json", "{}")
    leave(plain, "convert", tmp_path / "convert")
    assert final_model(plain) == plain.site.home / "results" / "smoke" / "model" and (final_model(plain) / "config.json").is_file()


@pytest.mark.slow
def test_a_release_is_registered_with_its_tags(desk: Desk, mlflow_server: Site) -> None:  # noqa: F811
    vars(desk)["site"] = desk.site.model_copy(update={"mlflow": mlflow_server.mlflow})
    page = register(desk.plan.node("release"), desk, LOG)
    assert page == f"{mlflow_server.mlflow.url}/#/models/{RECIPE}/versions/1" == register(desk.plan.node("release"), desk, LOG)
    version = MlflowClient(tracking_uri=mlflow_server.mlflow.url).get_model_version(RECIPE, "1")
    told = {"released": "merge", "winner": "half", "shaped": "sft-main, merge", "accuracy/greedy": "0.5000"}
    assert told.items() <= version.tags.items() and version.tags["fingerprint"] == desk.plan.node("release").fingerprint
    assert version.description == CARD


def test_a_registry_that_is_away_stops_nothing_and_says_how_to_do_it_again(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    vars(desk)["site"] = local_site(desk.site.home)
    assert register(desk.plan.node("release"), desk, LOG) is None
    assert "smolflow run release --recipe smoke-post" in caplog.text
    assert register(desk.plan.node("merge"), desk, LOG) is None, "no stage but a release is registered"
