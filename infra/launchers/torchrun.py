"""torchrun here: the processes of one job on this machine, as children of the flow's process."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from infra.job import JobSpec
from infra.launchers.forked import forked
from infra.launchers.process import Start, spawned
from infra.launchers.watch import OnLine, OnProgress, Result, run
from infra.site import CHECKOUT, Site

__all__ = ["Result", "launch", "torchrun"]

FORKED = ("training", "evaluation", "posttraining")
"""Crafts of which one run of the playbook starts many jobs."""


def launch(
    spec: JobSpec,
    job_dir: Path,
    site: Site,
    *,
    on_line: OnLine,
    on_progress: OnProgress,
    check: Callable[[], object] | None = None,
) -> Result:
    """Write `spec` into `job_dir`, run its worker there and follow it to its end (see `infra.launchers.watch.run`).

    Several processes run under torchrun, and so does training on a GPU; one process of any other kind is the worker itself: the agent
    would cost a second import of torch. On CPUs, where imports are a large part of a small job, workers of which a run has many are forked.
    """
    job_dir = Path(os.path.abspath(job_dir))
    job_dir.mkdir(parents=True, exist_ok=True)
    place = job_dir / "spec.json"
    place.write_text(spec.model_dump_json(indent=2), encoding="utf-8")
    start = _start(spec, place, site)
    return run(start, job_dir, on_line=on_line, on_progress=on_progress, check=check)


def _start(spec: JobSpec, place: Path, site: Site) -> Start:
    module, environment, on_cpus = f"tasks.{spec.craft}.worker", worker_environment(spec, site), _on_cpus(spec, site)
    if spec.processes > 1 or (spec.craft == "training" and not on_cpus):
        return spawned(torchrun(site.interpreter, spec.processes, ["-m", module, str(place)]), environment)
    # Another interpreter may stand in a container, whose process ids are not ours; a fork after imports is safe on Linux alone.
    if spec.craft in FORKED and on_cpus and site.interpreter == sys.executable and sys.platform == "linux":
        return forked(module, place, environment, importlib.import_module(module).environment(spec))
    return spawned([site.interpreter, "-m", module, str(place)], environment)


def torchrun(interpreter: str, processes: int, worker: Sequence[str]) -> list[str]:
    """Command that starts `processes` ranks of `worker` on this machine; they meet on a free port of the loopback interface.

    It never restarts ranks: the stage is what is retried, and the worker alone decides where it resumes.
    """
    meeting = ["--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0", f"--rdzv-id=job-{os.getpid()}", "--local-addr=127.0.0.1"]
    return [
        interpreter,
        "-m",
        "torch.distributed.run",
        "--nnodes=1",
        f"--nproc-per-node={processes}",
        "--max-restarts=0",
        *meeting,
        *worker,
    ]


def worker_environment(spec: JobSpec, site: Site) -> dict[str, str]:
    """Environment of a worker: ours without Prefect's and MLflow's settings, which it has no use for."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PREFECT_", "MLFLOW_"))}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(CHECKOUT), environment.get("PYTHONPATH", "")]))
    environment["SMOLFLOW_SCRATCH"] = str(site.scratch)
    # Without a name service for this host's name gloo finds no interface; one machine needs the loopback only.
    environment.setdefault("GLOO_SOCKET_IFNAME", "lo" if sys.platform == "linux" else "lo0")
    if _on_cpus(spec, site):
        # Spinning OpenMP threads of several ranks on few cores cost a factor of 2 to 20.
        environment.setdefault("OMP_NUM_THREADS", "1")
        environment["CUDA_VISIBLE_DEVICES"] = ""  # a job of a CPU pool leaves the devices to the GPU pools
    return environment


def _on_cpus(spec: JobSpec, site: Site) -> bool:
    return site.pools[site.pool_of(spec.stage.partition("-")[0])].kind == "cpu"
