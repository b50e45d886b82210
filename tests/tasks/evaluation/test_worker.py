"""The worker as a process: spec in, part and result.json out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from infra.job import InputRef, JobSpec
from infra.store import Store
from tests.tasks.evaluation.material import Line
from tests.tasks.evaluation.test_evaluate import CONFIG


def commit(store: Store, stage: str, folder: Path) -> InputRef:
    with store.begin(stage, f"key-{stage}") as workspace:
        artifact = workspace.commit(f"fingerprint-{stage}", [workspace.put("result", folder)])
    return InputRef(stage=stage, fingerprint=artifact.fingerprint)


def test_worker_seals_its_results_and_says_so(line: Line, tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "store"))
    stages = {"model": ("convert", line.model), "tokenize": ("tokenize", line.tokenize), "curate": ("curate", line.curate)}
    spec = JobSpec(
        stage="evaluate", craft="evaluation", fingerprint="fingerprint-evaluate", workspace_key="key-evaluate", store=store.url,
        config=CONFIG.model_dump(mode="json"), inputs={role: commit(store, *place) for role, place in stages.items()},
    )  # fmt: skip
    job = tmp_path / "job"
    job.mkdir()
    (job / "spec.json").write_text(spec.model_dump_json())
    environment = os.environ | {"SMOLFLOW_JOB_DIR": str(job), "SMOLFLOW_SCRATCH": str(tmp_path / "scratch"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tasks.evaluation.worker", str(job / "spec.json")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads((job / "result.json").read_text())
    assert result["exit"] == 0 and result["part"] == "result" and "bits_per_byte/prose" in result["summary"]["metrics"]
    with store.begin("evaluate", "key-evaluate") as workspace:
        (part,) = workspace.parts()
        fetched = workspace.fetch(part, tmp_path / "fetched")
    assert {path.name for path in fetched.rglob("*.json")} == {"scores.json", "samples.json"}
    assert [json.loads(row)["total"] for row in (job / "progress.jsonl").read_text().splitlines()][-1] == 100.0
