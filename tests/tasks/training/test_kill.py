"""Ended at the worst moments, and gone on from: the losses are those of a run that nobody touched, bit for bit."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
from collections.abc import Callable
from glob import iglob
from pathlib import Path
from typing import Any

import pytest

from infra.job import JobSpec
from tests.tasks.training.material import Bench, Running, curve, phase

EVERY_SECOND = {"checkpoint_every": 2, "evaluate_every": 100, "tokens": 24 * 256}


def parts(bench: Bench, key: str) -> Path:
    return bench.root / "store" / "workspaces" / "train-stable" / key / "parts"


def record(bench: Bench, key: str) -> list[str]:
    """Names of sealed parts, seen without the store."""
    return sorted(path.parent.name for path in parts(bench, key).glob("*/part.json"))


def uninterrupted(bench: Bench, change: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> dict[int, dict[str, float]]:
    spec = bench.spec(phase(**change), key="whole")
    result = bench.here(spec, monkeypatch, "whole")
    return curve(bench.part(spec, result["part"]))


def assert_goes_on(bench: Bench, spec: JobSpec, expected: dict[int, dict[str, float]], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The next attempt, in this process."""
    result = bench.here(spec, monkeypatch)
    assert result["exit"] == 0, result["reason"]
    assert losses(curve(bench.part(spec, result["part"]))) == losses(expected)
    return result


def losses(told: dict[int, dict[str, float]]) -> dict[int, tuple[float, float]]:
    return {step: (values["loss"], values["grad_norm"]) for step, values in told.items()}


def during_a_save(bench: Bench, job: Running) -> Callable[[], bool]:
    """Shards are being written, and the checkpoint's own last file is not there."""
    local = job.folder / "parts"

    def seen() -> bool:
        return any(not (path.parent / "metadata.json").exists() for path in local.glob("*/checkpoint/__*.distcp"))

    return seen


def before_the_record(bench: Bench, job: Running) -> Callable[[], bool]:
    """Every shard is in the store, the part's record is not."""

    place = parts(bench, "killed")

    def seen() -> bool:
        uploaded = {Path(name).parts[0] for name in iglob("**/*.distcp", root_dir=place, recursive=True)}
        return bool(uploaded - set(record(bench, "killed")))

    return seen


def in_a_step(bench: Bench, job: Running) -> Callable[[], bool]:
    return lambda: job.step() >= 7


def before_the_first_step(bench: Bench, job: Running) -> Callable[[], bool]:
    return lambda: (job.folder / "metrics.jsonl").exists() and job.step() == 0


def killed_at(bench: Bench, spec: JobSpec, moment: Any) -> Running:
    """A job that was killed at `moment`, which it was still at afterwards."""
    for _ in range(4):  # the moment lasts milliseconds, and the processor is shared
        job = bench.start(spec)
        seen = moment(bench, job)
        caught = job.until(seen)
        ended = job.process.poll() is not None
        job.kill()
        if caught and seen():
            assert not (job.folder / "result.json").exists()
            return job
        if ended:  # to its very end: another workspace is needed
            shutil.rmtree(parts(bench, spec.workspace_key))
    raise AssertionError(f"never seen: {moment.__name__}\n{job.log()[-3000:]}")


MOMENTS = [before_the_first_step, during_a_save, before_the_record, in_a_step, during_a_save]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_killed_at_the_worst_moments_and_gone_on(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = uninterrupted(bench, EVERY_SECOND, monkeypatch)
    spec = bench.spec(phase(**EVERY_SECOND), key="killed")
    for moment in MOMENTS:
        killed_at(bench, spec, moment)
    result = assert_goes_on(bench, spec, expected, monkeypatch)
    assert any("ended without a word" in said for said in result["summary"]["interventions"])


@pytest.mark.timeout(170)
def test_two_ranks_killed_and_gone_on_elsewhere(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    both = {"data_parallel_size": 2, "micro_batch_size": 2}
    change: dict[str, Any] = {"checkpoint_every": 5, "evaluate_every": 5, "tokens": 12 * 256, "layout": both}
    spec = bench.spec(phase(**change), key="killed")
    job = bench.start(spec)
    assert job.until(lambda: job.step() >= 9 and bool(record(bench, "killed"))), job.log()[-3000:]
    last_rank = max(pid for pid in job.ranks() if b"tasks.training.worker" in Path(f"/proc/{pid}/cmdline").read_bytes())
    os.kill(last_rank, signal.SIGKILL)
    lost = job.wait(40)
    assert (lost["exit"], lost["code"]) == (75, "rank-lost"), lost["reason"]
    first = curve(job.folder)
    result = bench.run(spec)
    assert result["exit"] == 0, result["reason"]
    again = curve(bench.part(spec, "step-00000012"))
    assert list(again) == list(range(1, 13))
    assert {step: again[step] for step in first} == first, "steps 6 to 9 were trained twice, with one result"
    single = bench.spec(phase(**(change | {"layout": {"micro_batch_size": 2}, "tokens": 14 * 256})), key="killed")
    longer = bench.here(single, monkeypatch, "single")
    assert longer["part"] == "step-00000014"
    assert [leg["layout"]["data_parallel_size"] for leg in longer["summary"]["layouts"]][-2:] == [2, 1]


@pytest.mark.timeout(120)
def test_sigterm_saves_and_asks_to_be_started_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    change = {"checkpoint_every": 100, "evaluate_every": 100, "tokens": 40 * 256}
    expected = uninterrupted(bench, change, monkeypatch)
    spec = bench.spec(phase(**change), key="stopped")
    job = bench.start(spec)
    assert job.until(lambda: job.step() >= 3), job.log()[-3000:]
    job.process.send_signal(signal.SIGTERM)
    result = job.wait()
    assert (result["exit"], result["code"]) == (75, "stopped") and job.process.returncode == 75
    (saved,) = bench.part_names(spec)
    assert 3 <= int(saved.removeprefix("step-")) < 40
    assert saved.removeprefix("step-").lstrip("0") in result["reason"]
    again = assert_goes_on(bench, spec, expected, monkeypatch)
    assert len(again["summary"]["interventions"]) == 1, "asked to stop; nothing is said to have ended without a word"
    assert "SIGTERM" in again["summary"]["interventions"][0]


@pytest.mark.timeout(120)
def test_a_full_disk_leaves_the_checkpoint_before_valid(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    first = bench.spec(phase(tokens=4 * 256), key="full")
    bench.here(first, monkeypatch, "first")
    expected = uninterrupted(bench, {}, monkeypatch)
    spec = bench.spec(phase(), key="full")
    result = bench.run(spec, limit=300_000)  # the spool fits, a shard of 1.4 MB does not
    assert (result["exit"], result["code"]) == (76, "resource"), result["reason"]
    assert "no room left" in result["reason"] and "untouched" in result["reason"]
    assert bench.part_names(spec) == ["step-00000004"]
    assert_goes_on(bench, spec, expected, monkeypatch)


@pytest.mark.timeout(60)
def test_a_store_that_is_away_is_said_at_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = bench.spec(phase()).model_copy(update={"store": "/proc/nowhere/store"})
    result = bench.here(spec, monkeypatch)
    assert result["exit"] in (1, 76) and "store" in result["reason"]


@pytest.mark.timeout(60)
def test_an_unreadable_spec_is_said_at_once(tmp_path: Path) -> None:
    import subprocess
    import sys

    (tmp_path / "spec.json").write_text(json.dumps({"stage": 1}))
    done = subprocess.run(
        [sys.executable, "-m", "tasks.training.worker", str(tmp_path / "spec.json")],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode != 0 and "workspace_key" in done.stderr


@pytest.mark.slow
@pytest.mark.timeout(170)
def test_two_nodes_share_nothing_but_the_store(bench: Bench) -> None:
    both = {"data_parallel_size": 2, "micro_batch_size": 2}
    short, longer = (
        bench.spec(phase(layout=both, tokens=tokens * 256, checkpoint_every=4, evaluate_every=4), key="nodes") for tokens in (8, 12)
    )
    for spec in (short, longer):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        jobs = [bench.start(spec, f"node{n}", node=(n, port)) for n in (0, 1)]
        result = jobs[0].wait(80)
        assert result["exit"] == 0, result["reason"]
        assert jobs[1].process.wait(20) == 0, jobs[1].log()[-3000:]
    part = bench.part(longer, "step-00000012")
    assert {path.name for path in (part / "checkpoint").glob("*.distcp")} == {"__0_0.distcp", "__1_0.distcp"}
    together = bench.spec(phase(layout=both, checkpoint_every=4, evaluate_every=4), key="together")
    assert bench.run(together, "together")["exit"] == 0
    assert losses(curve(part)) == losses(curve(bench.part(together, "step-00000012")))
