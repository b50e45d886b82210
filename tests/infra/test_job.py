from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from contracts.errors import ConfigError, GateError, InputError, ResourceError
from infra.job import Exit, InputRef, Job, JobResult, JobSpec, ProgressFile, Stopped, Summary, code_version, machine, versions
from infra.store import ArtifactMissing, Store

ROOT = Path(__file__).resolve().parents[2]
WORKER = """
import json, os, sys, time
from contracts.errors import GateError, InputError
from infra.job import JobSpec, Summary, run_body

def body(config, inputs, out, progress):
    progress(0, 2, "reading")
    (out / "made.txt").write_text((inputs["curate"] / "text.txt").read_text() * config["times"])
    print("working", flush=True)
    if config.get("do") == "wait":
        time.sleep(60)
    if config.get("do") == "refuse":
        raise GateError("parity is off", do="look at parity.json", where="convert")
    if config.get("do") == "complain":
        raise InputError("the text is empty", do="give some")
    if config.get("do") == "break":
        raise ValueError("a bug")
    progress(2, 2, "done")
    return Summary(counts={"copies": config["times"]}, metrics={"loss": 0.5}, evidence={"sample": "ab"})

sys.exit(run_body(JobSpec.read(sys.argv[1]), body))
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with the artifact c1 of stage curate."""
    store = Store.open(str(tmp_path / "store"))
    (tmp_path / "made").mkdir()
    (tmp_path / "made/text.txt").write_text("ab")
    with store.begin("curate", "c1") as workspace:
        workspace.commit("c1", [workspace.put("result", tmp_path / "made")])
    return store


def spec_of(store: Store, lease: int | None = None, **config: Any) -> JobSpec:
    return JobSpec(
        stage="convert",
        craft="conversion",
        fingerprint="f1",
        workspace_key="w1",
        lease=lease,
        store=store.url,
        config={"times": 2} | config,
        inputs={"curate": InputRef(stage="curate", fingerprint="c1")},
    )


def start(spec: JobSpec, folder: Path) -> subprocess.Popen[str]:
    """The worker of `spec`, as a process of its own with a job folder of its own."""
    folder.mkdir(exist_ok=True)
    (folder / "spec.json").write_text(spec.model_dump_json())
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "SMOLFLOW_JOB_DIR": str(folder), "SMOLFLOW_SCRATCH": str(folder / "scratch")}
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, str(folder / "spec.json")],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def finish(worker: subprocess.Popen[str], folder: Path) -> tuple[int, JobResult | None, str]:
    """(exit code, result.json, what it wrote to stderr)."""
    _, errors = worker.communicate(timeout=60)
    said = folder / "result.json"
    return worker.returncode, JobResult.parse(json.loads(said.read_text())) if said.is_file() else None, errors


def test_a_worker_leaves_a_sealed_part_its_summary_and_its_progress(store: Store, tmp_path: Path) -> None:
    with store.begin("convert", "w1") as workspace:
        code, result, _ = finish(start(spec_of(store, workspace.lease), tmp_path / "job"), tmp_path / "job")
        (part,) = workspace.parts()
        workspace.verify(part)
        assert (workspace.fetch(part, tmp_path / "back") / "made.txt").read_text() == "abab"
    assert code == Exit.DONE == 0
    assert result is not None
    assert (result.exit, result.part) == (Exit.DONE, "result")
    expected = Summary(counts={"copies": 2}, metrics={"loss": 0.5}, evidence={"sample": "ab"})
    assert Summary.parse(result.summary) == Summary.parse(part.meta) == expected
    lines = [json.loads(line) for line in (tmp_path / "job/progress.jsonl").read_text().splitlines()]
    assert lines[-1] == {"done": 2, "total": 2, "note": "done"}


def test_a_worker_can_be_started_by_hand_with_a_lease_of_its_own(store: Store, tmp_path: Path) -> None:
    code, result, _ = finish(start(spec_of(store), tmp_path / "job"), tmp_path / "job")
    assert (code, result.part if result else "") == (0, "result")
    with store.begin("convert", "w1") as workspace:
        assert [part.name for part in workspace.parts()] == ["result"]


def test_a_sealed_result_is_not_made_twice_and_a_damaged_one_is_made_again(store: Store, tmp_path: Path) -> None:
    finish(start(spec_of(store), tmp_path / "job"), tmp_path / "job")
    code, result, _ = finish(start(spec_of(store, times=3), tmp_path / "again"), tmp_path / "again")
    assert code == 0
    assert result is not None
    assert result.summary["counts"] == {"copies": 2}
    store.objects.write("workspaces/convert/w1/parts/result/1/made.txt", b"xxxx")
    code, result, errors = finish(start(spec_of(store, times=3), tmp_path / "third"), tmp_path / "third")
    assert code == 0
    assert result is not None
    assert result.summary["counts"] == {"copies": 3}
    assert "made again" in errors


@pytest.mark.parametrize(
    ("do", "code", "kind", "reason"),
    [
        ("refuse", Exit.DECIDE, "gate", "gate: parity is off [convert]\n  What to do: look at parity.json"),
        ("complain", Exit.FAILED, "input", "input: the text is empty\n  What to do: give some"),
        ("break", Exit.FAILED, "unexpected", "ValueError: a bug"),
    ],
)
def test_what_a_body_raises_is_told_and_nothing_is_sealed(
    store: Store, tmp_path: Path, do: str, code: Exit, kind: str, reason: str
) -> None:
    ended, result, errors = finish(start(spec_of(store, do=do), tmp_path / "job"), tmp_path / "job")
    assert ended == code
    assert result == JobResult(exit=code, code=kind, reason=reason)
    assert reason in errors
    assert ("Traceback" in errors) == (do == "break")
    with store.begin("convert", "w1") as workspace:
        assert workspace.parts() == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_worker_asks_to_be_resumed_and_frees_its_lease(store: Store, tmp_path: Path, number: signal.Signals) -> None:
    worker = start(spec_of(store, do="wait"), tmp_path / "job")
    assert worker.stdout is not None
    assert worker.stdout.readline() == "working\n"
    worker.send_signal(number)
    worker.send_signal(number)
    code, result, errors = finish(worker, tmp_path / "job")
    assert code == Exit.RESUME == 75
    assert result == JobResult(exit=Exit.RESUME, code="stopped", reason=f"stopped by {number.name}; start it again to go on")
    assert "Traceback" not in errors
    code, result, _ = finish(start(spec_of(store), tmp_path / "job"), tmp_path / "job")
    assert (code, result.exit if result else None) == (0, Exit.DONE)


def test_a_missing_input_names_the_stage_to_run_first(store: Store, tmp_path: Path) -> None:
    spec = spec_of(store).model_copy(update={"inputs": {"curate": InputRef(stage="curate", fingerprint="c2")}})
    code, result, _ = finish(start(spec, tmp_path / "job"), tmp_path / "job")
    assert code == Exit.FAILED
    assert result is not None
    assert result.code == ArtifactMissing.code
    assert "run stage 'curate' first" in result.reason


def test_a_worker_whose_lease_was_lost_seals_nothing(store: Store, tmp_path: Path) -> None:
    with store.begin("convert", "w1") as workspace:
        stale = workspace.lease
    code, result, _ = finish(start(spec_of(store, stale), tmp_path / "job"), tmp_path / "job")
    assert code == Exit.FAILED
    assert result is not None
    assert result.code == "lease-lost"


def test_an_old_result_is_not_taken_for_the_new_one(store: Store, tmp_path: Path) -> None:
    job = Job(tmp_path / "job", tmp_path)
    job.folder.mkdir()
    job.write_result(JobResult(exit=Exit.DONE, part="old"))
    worker = start(spec_of(store, do="wait"), job.folder)
    assert worker.stdout is not None
    assert worker.stdout.readline() == "working\n"
    worker.kill()
    assert finish(worker, job.folder)[:2] == (-signal.SIGKILL, None)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Stopped("x"), Exit.RESUME),
        (GateError("x", do="y"), Exit.DECIDE),
        (ResourceError("x", do="y"), Exit.DECIDE),
        (ConfigError("x", do="y"), Exit.DECIDE),
        (InputError("x", do="y"), Exit.FAILED),
        (RuntimeError("x"), Exit.FAILED),
    ],
)
def test_errors_have_exit_codes(error: BaseException, code: Exit) -> None:
    assert JobResult.of_error(error).exit == code


@pytest.mark.parametrize("text", ["", "{", "[]", '{"stage": "convert"}', None])
def test_a_spec_that_cannot_be_read_is_refused(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "spec.json").write_text(text)
    with pytest.raises(ConfigError):
        JobSpec.read(tmp_path / "spec.json")


def test_a_spec_comes_back_from_json_as_it_was(store: Store, tmp_path: Path) -> None:
    spec = spec_of(store, 3, phases=[{"name": "stable", "tokens": 10}])
    (tmp_path / "spec.json").write_text(spec.model_dump_json())
    assert JobSpec.read(tmp_path / "spec.json") == spec


def test_progress_is_thinned_but_its_end_is_always_told(tmp_path: Path) -> None:
    progress = ProgressFile(tmp_path / "progress.jsonl")
    began = time.monotonic()
    for done in range(2001):
        progress(done, 2000, f"step {done}")
    lines = (tmp_path / "progress.jsonl").read_text().splitlines()
    assert json.loads(lines[0])["done"] == 0
    assert json.loads(lines[-1]) == {"done": 2000, "total": 2000, "note": "step 2000"}
    assert len(lines) <= 3 + (time.monotonic() - began) / 0.2


def test_provenance_names_libraries_machine_and_code() -> None:
    assert versions()["python"] == ".".join(map(str, sys.version_info[:3]))
    assert {"numpy", "pydantic", "megatron-core"} <= versions().keys()
    assert machine()["cpus"] >= 1
    assert machine()["memory_bytes"] > 2**28
    assert code_version() == code_version() != ""
