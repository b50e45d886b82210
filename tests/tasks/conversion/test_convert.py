"""The stage's body and its worker, on checkpoints of the trainer's own writer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from contracts.errors import GateError, InputError
from infra.job import InputRef, JobSpec, run_body
from infra.store import Store
from models import huggingface
from models import weights as initial
from models.layout import Layout
from tasks.conversion import parity_problems
from tasks.conversion.config import ConversionConfig
from tasks.conversion.convert import convert
from tasks.conversion.worker import body
from tests.tasks.conversion.material import model_of
from tests.tasks.conversion.write_checkpoint import SEED, write
from tests.tasks.training.ranks import collective

MODEL = model_of()


def quiet(done: float, total: float, note: str) -> None:
    """No progress wanted."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    write(folder, MODEL, Layout())
    return folder


@pytest.fixture
def inputs(trained: Path, tokenizer: Path, curated: Path) -> dict[str, Path]:
    return {"checkpoint": trained, "tokenizer": tokenizer, "curate": curated}


def is_the_trained_model(folder: Path) -> bool:
    held = load_file(folder / "model.safetensors")
    shapes = huggingface.shapes(MODEL)
    return list(held) == sorted(shapes) and all(
        torch.equal(held[name], initial.initial_weight(MODEL, name, shape, SEED)) for name, shape in shapes.items()
    )


def test_checkpoint_becomes_a_folder_that_passes_the_gate(inputs: dict[str, Path], tmp_path: Path) -> None:
    summary = convert(ConversionConfig(heldout_tokens=512), inputs, tmp_path, quiet)
    assert is_the_trained_model(tmp_path / "model")
    recorded = json.loads((tmp_path / "parity.json").read_text())
    assert summary.evidence["parity"] == recorded and all(check["passed"] for check in recorded["checks"])
    assert summary.metrics["parity/largest_logit_difference"] <= 1e-4 and summary.counts["parity_tokens"] >= 400
    assert {path.name for path in tmp_path.iterdir()} == {"model", "parity.json"}


def test_changed_bounds_judge_the_recorded_evidence_anew(inputs: dict[str, Path], tmp_path: Path) -> None:
    evidence = convert(ConversionConfig(dtype="bfloat16", heldout_tokens=512), inputs, tmp_path, quiet).evidence
    assert parity_problems(evidence, ConversionConfig(dtype="bfloat16")) == []
    (problem,) = parity_problems(evidence, ConversionConfig.parse({"dtype": "bfloat16", "rounding": {"max_kl": 1e-12}}))
    assert problem.startswith("rounding: KL divergence in nats")


def test_rope_base_of_the_last_phase_is_exported(inputs: dict[str, Path], tmp_path: Path) -> None:
    write(tmp_path / "trained", MODEL, Layout(), rope_theta=2e6)
    (tmp_path / "out").mkdir()
    convert(ConversionConfig(heldout_tokens=256), inputs | {"checkpoint": tmp_path / "trained"}, tmp_path / "out", quiet)
    assert json.loads((tmp_path / "out/model/config.json").read_text())["rope_parameters"]["rope_theta"] == 2e6


def test_gate_that_refuses_leaves_its_evidence(inputs: dict[str, Path], tmp_path: Path) -> None:
    config = ConversionConfig.parse({"dtype": "bfloat16", "heldout_tokens": 256, "rounding": {"max_logit_difference": 0}})
    with pytest.raises(GateError, match="rounding: largest logit difference"):
        convert(config, inputs, tmp_path, quiet)
    checks = json.loads((tmp_path / "parity.json").read_text())["checks"]
    assert "rounding: largest logit difference" in [check["name"] for check in checks if not check["passed"]]


def test_folder_that_is_no_training_artifact_is_refused(inputs: dict[str, Path], tokenizer: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no training artifact"):
        convert(ConversionConfig(), inputs | {"checkpoint": tokenizer}, tmp_path, quiet)


def test_checkpoint_of_two_ranks_becomes_the_same_folder(inputs: dict[str, Path], tmp_path: Path) -> None:
    collective(tmp_path, [2], "tests.tasks.conversion.write_checkpoint:split_over_ranks")
    (tmp_path / "out").mkdir()
    convert(ConversionConfig(heldout_tokens=256), inputs | {"checkpoint": tmp_path / "trained"}, tmp_path / "out", quiet)
    assert is_the_trained_model(tmp_path / "out/model")


def written_job(inputs: dict[str, Path], folder: Path, bounds: dict[str, Any]) -> tuple[Store, Path]:
    """A store with the inputs, and a job's spec in a folder of its own."""
    store = Store.open(str(folder / "store"))
    stages = {"checkpoint": "train-stable", "tokenizer": "tokenizer", "curate": "curate"}
    spec = JobSpec(
        stage="convert", craft="conversion", fingerprint="fingerprint-convert", workspace_key="key-convert", store=store.url,
        config=ConversionConfig.parse({"heldout_tokens": 256} | bounds).model_dump(mode="json"),
        inputs={role: commit(store, stage, inputs[role]) for role, stage in stages.items()},
    )  # fmt: skip
    job = folder / "job"
    job.mkdir()
    (job / "spec.json").write_text(spec.model_dump_json())
    return store, job


def left(store: Store, job: Path) -> tuple[dict[str, Any], list[str]]:
    """result.json, and the names of sealed parts."""
    with store.begin("convert", "key-convert") as workspace:
        return dict(json.loads((job / "result.json").read_text())), [part.name for part in workspace.parts()]


def test_worker_seals_a_result_that_passes_the_gate(inputs: dict[str, Path], tmp_path: Path) -> None:
    store, job = written_job(inputs, tmp_path, {})
    environment = os.environ | {"SMOLFLOW_JOB_DIR": str(job), "SMOLFLOW_SCRATCH": str(tmp_path / "scratch"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tasks.conversion.worker", str(job / "spec.json")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    result, sealed = left(store, job)
    assert result["exit"] == 0 and sealed == ["result"] and result["summary"]["evidence"]["parity"]["checks"]


def test_worker_seals_nothing_that_the_gate_refuses(inputs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process: the one above has a process of its own."""
    store, job = written_job(inputs, tmp_path, {"dtype": "bfloat16", "rounding": {"max_kl": 0}})
    monkeypatch.setattr(os, "environ", os.environ.copy())  # the worker settles what its libraries see
    monkeypatch.setenv("SMOLFLOW_JOB_DIR", str(job))
    monkeypatch.setenv("SMOLFLOW_SCRATCH", str(tmp_path / "scratch"))
    assert run_body(JobSpec.read(job / "spec.json"), body) == 76
    result, sealed = left(store, job)
    assert (result["exit"], result["code"]) == (76, "gate") and "rounding: KL divergence in nats" in result["reason"] and sealed == []


def commit(store: Store, stage: str, folder: Path) -> InputRef:
    with store.begin(stage, f"key-{stage}") as workspace:
        artifact = workspace.commit(f"fingerprint-{stage}", [workspace.put("result", folder)])
    return InputRef(stage=stage, fingerprint=artifact.fingerprint)
