"""Checkpoints are measured while their phase is trained, and whatever becomes of that, the training is the same."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from contracts.errors import StageError
from flows.checkpoints import EVALUATED, FAILED
from flows.desk import Desk
from flows.stage import Watch, perform
from infra.launchers.tree import members
from infra.store import Artifact

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
STEPS, EVERY = 240, 30
PHASE = [
    f"training.phases.stable.tokens={STEPS * 1024}",
    f"training.phases.stable.checkpoint_every={EVERY}",
    "evaluation.bits_per_byte.heldout_bytes=5000",
    "evaluation.tasks=[grammar_pairs]",
    "evaluation.items=10",
    "evaluation.samples.prompts=0",
]
ON = "evaluation.every_checkpoint=true"
REFUSED = ["evaluation.backend=megatron", "evaluation.suite=ablation", "evaluation.tasks=[]"]
"""A suite with a task that runs what the model writes, which nobody allowed: the evaluation refuses to begin."""
LOG = logging.getLogger("test")


def watch(check: Callable[[], None] | None = None) -> Watch:
    return Watch(LOG, lambda done, total, note: None, check)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose store has everything before the training."""
    home = tmp_path_factory.mktemp("prepared")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SMOLFLOW_HOME", str(home))
        desk = Desk.of("smoke", PHASE)
        for name in ("source", "curate", "tokenizer", "tokenize"):
            perform(desk.plan.node(name), desk, watch())
    return home


def trained(home: Path, more: list[str], check: Callable[[], None] | None = None) -> tuple[Artifact, Desk]:
    """The phase `stable`, trained in `home`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SMOLFLOW_HOME", str(home))
        desk = Desk.of("smoke", [*PHASE, *more])
        return perform(desk.plan.node("train-stable"), desk, watch(check)).artifact, desk


@pytest.fixture(scope="module")
def plain(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the training gives where nothing is measured beside it."""
    artifact, desk = trained(copied(prepared, tmp_path_factory.mktemp("plain")), [])
    assert "checkpoint-evaluations" not in desk.store.records(artifact)
    return result(artifact, desk)


def copied(prepared: Path, home: Path) -> Path:
    return Path(shutil.copytree(prepared, home, dirs_exist_ok=True))


def result(artifact: Artifact, desk: Desk) -> dict[str, Any]:
    """Losses of every step, and hashes of the weights."""
    folder = desk.store.materialise(artifact, desk.site.scratch / "looked-at")
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    losses = {step: values["loss"] for step, _, values in lines if "loss" in values}
    return {"losses": losses, "weights": {f.path: f.sha256 for f in artifact.manifest.files if f.path.endswith(".distcp")}}


def checkpoints(desk: Desk) -> dict[int, Artifact]:
    """Committed checkpoints of the phase by step."""
    found = [one for one in desk.store.artifacts() if one.stage == "train-stable" and "checkpoint" in one.manifest.config]
    return {int(one.manifest.config["checkpoint"]): one for one in found}


def test_checkpoints_are_measured_converted_and_the_training_is_the_same(
    prepared: Path, plain: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="test"):
        artifact, desk = trained(copied(prepared, tmp_path), [ON])
    assert result(artifact, desk) == plain
    measured = desk.store.records(artifact)["checkpoint-evaluations"]["steps"]
    assert measured, caplog.text
    assert {int(step) for step in measured} <= set(range(EVERY, STEPS, EVERY))
    found = checkpoints(desk)
    for step, metrics in measured.items():
        record = desk.store.records(found[int(step)])[EVALUATED]
        assert record["metrics"] == metrics and 0 < metrics["bits_per_byte"] < 10
        evaluation = desk.store.require("evaluate", record["evaluate"])
        converted = desk.store.require("convert", evaluation.manifest.inputs["model"].fingerprint)
        assert desk.store.records(converted)["gate-parity"]["verdict"] == "passed"
        assert converted.manifest.inputs["checkpoint"].fingerprint == found[int(step)].fingerprint
        desk.store.materialise(found[int(step)], tmp_path / "checkpoint")  # every byte is still there
    points = [json.loads(line) for line in (desk.job_dir(desk.plan.node("train-stable")) / "beside.jsonl").read_text().splitlines()]
    assert {str(step) for step, _, _ in points} == set(measured)
    assert points[0][2]["evaluation/bits_per_byte"] == measured[str(points[0][0])]["bits_per_byte"]


def test_an_evaluation_that_cannot_run_leaves_the_training_as_it_is(
    prepared: Path, plain: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    artifact, desk = trained(copied(prepared, tmp_path), [ON, *REFUSED])
    assert result(artifact, desk) == plain
    assert desk.store.records(artifact)["checkpoint-evaluations"]["steps"] == {}
    failed = [records for one in checkpoints(desk).values() if FAILED in (records := desk.store.records(one))]
    assert failed and all("humaneval would run here" in records[FAILED]["reason"] for records in failed)
    assert any("was not measured, the training goes on" in line for line in caplog.messages)


def test_a_stopped_phase_takes_its_evaluation_with_it(prepared: Path, tmp_path: Path) -> None:
    home = copied(prepared, tmp_path)

    def cancelled() -> None:
        if list((home / "scratch" / "jobs").glob("convert-*/log.txt")):
            raise StageError("cancelled", do="run it again")

    with pytest.raises(StageError, match="cancelled"):
        trained(home, [ON], cancelled)
    (folder,) = (home / "scratch" / "jobs").glob("convert-*")
    assert not members(folder)
    again, desk = trained(home, [])
    assert FAILED not in {name for one in checkpoints(desk).values() for name in desk.store.records(one)}
    assert again.manifest.counts["steps"] == STEPS
