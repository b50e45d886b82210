"""The worker as a process: spec in, part and result.json out; what a person must decide has its own exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from infra.job import InputRef, JobSpec
from infra.store import Store
from tests.tasks.merging.material import edited
from tests.tasks.merging.test_body import request

pytestmark = pytest.mark.slow  # a process that imports torch, transformers and mergekit takes 10 s and more on a busy core


def commit(store: Store, stage: str, folder: Path) -> InputRef:
    with store.begin(stage, f"key-{stage}") as workspace:
        artifact = workspace.commit(f"fingerprint-{stage}", [workspace.put("result", folder)])
    return InputRef(stage=stage, fingerprint=artifact.fingerprint)


def work(root: Path, family: dict[str, Path]) -> tuple[Store, int, dict[str, object]]:
    """(store, exit code, result.json) of a worker that merges this family."""
    store, job = Store.open(str(root / "store")), root / "job"
    spec = JobSpec(
        stage="merge", craft="merging", fingerprint="fingerprint-merge", workspace_key="key-merge", store=store.url,
        config=request().model_dump(mode="json"), inputs={stage: commit(store, stage, folder) for stage, folder in family.items()},
    )  # fmt: skip
    job.mkdir()
    (job / "spec.json").write_text(spec.model_dump_json())
    environment = os.environ | {"SMOLFLOW_JOB_DIR": str(job), "SMOLFLOW_SCRATCH": str(root / "scratch"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tasks.merging.worker", str(job / "spec.json")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=150, check=False)
    assert (job / "result.json").is_file(), done.stderr[-2000:]
    return store, done.returncode, json.loads((job / "result.json").read_text())


def test_worker_seals_the_winner_and_says_so(family: dict[str, Path], tmp_path: Path) -> None:
    store, code, result = work(tmp_path, family)
    assert (code, result["exit"], result["part"]) == (0, 0, "result"), result["reason"]
    with store.begin("merge", "key-merge") as workspace:
        (part,) = workspace.parts()
        fetched = workspace.fetch(part, tmp_path / "fetched")
    left = {path.name for path in fetched.iterdir()}
    assert left >= {"panel.json", "skills.json", "model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja"}
    assert not (tmp_path / "job" / "candidates").exists()


def test_models_that_cannot_be_merged_need_a_person(family: dict[str, Path], tmp_path: Path) -> None:
    bad = edited(family["sft-b"], tmp_path / "nan", lambda held: held["model.norm.weight"].fill_(float("nan")))
    _, code, result = work(tmp_path, family | {"sft-b": bad})
    assert (code, result["code"]) == (76, "gate") and "sft-b: model.norm.weight hold values that are not finite" in str(result["reason"])
