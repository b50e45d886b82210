from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.job import JobSpec
from infra.launchers.process import spawned
from infra.launchers.torchrun import launch, torchrun, worker_environment
from infra.launchers.watch import Result, run
from infra.site import Pool, Site
from tests.infra.launchers.children import is_gone, read_pids

RANK = """
import os, signal, sys, time, pathlib, json
import torch, torch.distributed as dist
here = pathlib.Path(os.environ["SMOLFLOW_JOB_DIR"])
rank = int(os.environ["RANK"])
dist.init_process_group("gloo")
total = torch.ones(1)
dist.all_reduce(total)
(here / f"pid{rank}").write_text(str(os.getpid()))
if sys.argv[1] == "fail" and rank == 1:
    raise FloatingPointError("loss is not finite on rank 1")
if sys.argv[1] == "hang":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(600)
if rank == 0 and sys.argv[1] == "sum":
    (here / "result.json").write_text(json.dumps({"exit": 0, "part": "step-000001", "summary": {"metrics": {"sum": float(total)}}}))
dist.barrier()
"""


def start(tmp_path: Path, what: str, check: Callable[[], object] | None = None) -> Result:
    script = tmp_path / "rank.py"
    script.write_text(RANK)
    spec = JobSpec(stage="train-stable", craft="training", fingerprint="f", workspace_key="w", store="memory://", config={}, processes=2)
    environment = worker_environment(spec, Site.parse({"home": tmp_path}))
    program = torchrun(sys.executable, 2, [str(script), what])
    return run(spawned(program, environment), tmp_path / "job", on_line=print, on_progress=print, check=check, grace=2.0)


def test_two_ranks_meet_and_leave_a_result(tmp_path: Path) -> None:
    result = start(tmp_path, "sum")
    assert result.code == 0, result.reason
    assert result.summary == {"metrics": {"sum": 2.0}}


def test_a_failed_rank_is_named_with_its_traceback(tmp_path: Path) -> None:
    result = start(tmp_path, "fail")
    assert result.code == 1
    assert "FloatingPointError: loss is not finite on rank 1" in result.reason
    assert "Root Cause (first observed failure)" in result.reason
    assert "rank      : 1" in result.reason


def test_ranks_in_sessions_of_their_own_that_ignore_sigterm_are_gone_after_a_cancel(tmp_path: Path) -> None:
    pids = [tmp_path / "job" / f"pid{rank}" for rank in (0, 1)]

    def cancelled() -> None:
        if all(path.exists() and path.read_text() for path in pids):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        start(tmp_path, "hang", cancelled)
    assert all(is_gone(pid) for path in pids for pid in read_pids(path))


def test_a_worker_of_one_process_runs_without_torchrun_and_gets_its_spec(tmp_path: Path) -> None:
    spec = JobSpec(stage="convert", craft="no_such_craft", fingerprint="f" * 32, workspace_key="w", store="memory://", config={"a": 1})
    result = launch(spec, tmp_path / "job", Site.parse({"home": tmp_path}), on_line=print, on_progress=print)
    assert result.code == 1
    assert "No module named 'tasks.no_such_craft'" in result.reason
    assert JobSpec.read(tmp_path / "job" / "spec.json") == spec
    assert "torch" not in result.log.read_text()


@pytest.mark.parametrize(
    ("processes", "kind", "under"),
    [(1, "cpu", "-m tasks.training.worker"), (1, "gpu", "-m torch.distributed.run"), (2, "cpu", "-m torch.distributed.run")],
)
def test_only_one_process_on_cpus_trains_without_torchrun(tmp_path: Path, processes: int, kind: str, under: str) -> None:
    echo = tmp_path / "interpreter"
    echo.write_text('#!/bin/sh\necho "$@"\n')
    echo.chmod(0o755)
    spec = JobSpec(
        stage="train-arm", craft="training", fingerprint="f", workspace_key="w", store="memory://", config={}, processes=processes
    )
    pools = {"pools": {"cpu": Pool(), "here": Pool(kind=kind)}, "stage_pools": {"train": "here"}}  # type: ignore[arg-type]
    result = launch(
        spec, tmp_path / "job", Site.parse({"home": tmp_path, "interpreter": str(echo), **pools}), on_line=print, on_progress=print
    )
    assert result.log.read_text().startswith(under)


def test_a_worker_sees_no_settings_of_prefect_or_mlflow_and_a_cpu_pool_no_devices(tmp_path: Path) -> None:
    os.environ["PREFECT_API_URL"] = os.environ["MLFLOW_TRACKING_URI"] = "http://127.0.0.1:1"
    try:
        spec = JobSpec(stage="train-stable", craft="training", fingerprint="f", workspace_key="w", store="memory://", config={})
        on_cpu = worker_environment(spec, Site.parse({"home": tmp_path}))
        gpu = {"cpu": Pool(), "gpu": Pool(kind="gpu")}
        on_gpu = worker_environment(spec, Site.parse({"home": tmp_path, "pools": gpu, "stage_pools": {"train": "gpu"}}))
    finally:
        del os.environ["PREFECT_API_URL"], os.environ["MLFLOW_TRACKING_URI"]
    assert not [name for name in on_cpu if name.startswith(("PREFECT_", "MLFLOW_"))]
    assert on_cpu["CUDA_VISIBLE_DEVICES"] == ""
    assert on_gpu.get("CUDA_VISIBLE_DEVICES") == os.environ.get("CUDA_VISIBLE_DEVICES")
    assert on_cpu["SMOLFLOW_SCRATCH"] == str(tmp_path / "scratch")
