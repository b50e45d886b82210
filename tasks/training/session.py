"""One attempt at a phase: resume from the newest good checkpoint, train to the end, leave a part that can be committed."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
import traceback
from dataclasses import dataclass, field
from typing import Any, TypeVar

import psutil
import torch
import torch.distributed as dist

from contracts.errors import SmolflowError
from infra import job as jobs
from infra.job import Exit, JobResult, JobSpec
from infra.store import Part, Store, Workspace
from models import layout as layouts
from models import parallel
from models.build import HAVE_CUDA, HAVE_TRANSFORMER_ENGINE
from tasks.training import parts
from tasks.training.config import Job
from tasks.training.ledger import Incident
from tasks.training.stopping import StopFlag
from tasks.training.trainer import Attempt, Diverged, train

_T = TypeVar("_T")
_LOST = ("gloo", "NCCL", "ProcessGroup", "Connection reset by peer", "Connection closed by peer")
"""What an exception of a collective says when the rank at its other end is gone."""
TIMEOUT_SECONDS = 1800.0
"""A collective may wait this long: ranks wait while the first one of their node brings inputs and checkpoint."""


@dataclass(frozen=True)
class Choice:
    """Where an attempt begins; rank 0 decides, all follow."""

    part: str = ""
    """Checkpoint to go on from; empty: the phase's beginning."""
    final: bool = False
    """That checkpoint was the end of the phase, at the length it had then."""
    summary: dict[str, Any] | None = None
    """The phase is finished already, at its end or where it diverged, and this is what there is to say about it."""
    incidents: list[Incident] = field(default_factory=list)
    """What was found on the way."""


def run(spec: JobSpec) -> int:
    """Train a phase as one rank of its job and return the exit code: 0 done, 75 resume me, 76 a person must decide, 1 failed."""
    began = time.perf_counter() - (time.time() - psutil.Process().create_time())
    place, rank = jobs.Job.from_environment(), int(os.environ.get("RANK", "0"))
    first_here = int(os.environ.get("LOCAL_RANK", "0")) == 0
    if first_here:
        place.result_file.unlink(missing_ok=True)
    with StopFlag().listening() as stop:
        try:
            result = _attempt(spec, place, first_here, stop, began)
            if rank == 0:
                place.write_result(result)
        except Exception as error:
            result = _of(error)
            if not isinstance(error, SmolflowError | Diverged):
                traceback.print_exc()
            print(f"[rank {rank}] {result.reason}", file=sys.stderr, flush=True)
            if not place.result_file.exists():  # of several ranks that fail the first says why: the others have only lost a peer
                place.write_result(result)
        else:
            parallel.destroy()
    return int(result.exit)


def _of(error: Exception) -> JobResult:
    if isinstance(error, Diverged):
        return JobResult(exit=Exit.DECIDE, reason=str(error), code="diverged")
    if isinstance(error, dist.DistError | RuntimeError) and any(sign in str(error) for sign in _LOST):
        reason = "a rank of this job is gone, so the others cannot go on; start it again: it goes on from the newest checkpoint"
        return JobResult(exit=Exit.RESUME, reason=f"{reason} ({str(error).splitlines()[0][:200]})", code="rank-lost")
    return JobResult.of_error(error)


def _attempt(spec: JobSpec, place: jobs.Job, first_here: bool, stop: StopFlag, began: float) -> JobResult:
    job = Job.parse(spec.config, "job")
    _check(job)
    parallel.initialise(job.phase.layout, job.seed, TIMEOUT_SECONDS)
    with contextlib.ExitStack() as held:
        store, workspace = _joined(spec, first_here, held)
        choice = _agreed(_choose(workspace, job.phase.steps) if workspace is not None and dist.get_rank() == 0 else None)
        if choice.summary is not None:
            return JobResult(exit=Exit.DONE, part=choice.part, summary=choice.summary)
        resume = place.folder / "resume" / choice.part if choice.part else None
        if store is not None and workspace is not None:
            for leftover in ("resume", "parts"):
                shutil.rmtree(place.folder / leftover, ignore_errors=True)
            place.materialise(store, spec.inputs)
            if resume is not None:
                workspace.fetch(next(p for p in workspace.parts() if p.name == choice.part), resume)
        dist.barrier()
        inputs = {role: place.scratch / "artifacts" / one.fingerprint for role, one in spec.inputs.items()}
        attempt = Attempt(job, inputs, resume, choice.final, choice.incidents, place.folder, began)
        return train(attempt, workspace, lambda: stop.raised)


def _joined(spec: JobSpec, first_here: bool, held: contextlib.ExitStack) -> tuple[Store | None, Workspace | None]:
    """Store and workspace on the first rank of each node; rank 0 takes the lease where the job brings none, the others join under it."""
    store = workspace = None
    if dist.get_rank() == 0:
        store = Store.open(spec.store)
        workspace = held.enter_context(store.attach(spec.stage, spec.workspace_key, spec.lease))
    lease = _agreed(workspace.lease if workspace is not None else None)
    if first_here and store is None:
        store = Store.open(spec.store)
        workspace = held.enter_context(store.attach(spec.stage, spec.workspace_key, lease))
    return store, workspace


def _choose(workspace: Workspace, steps: int) -> Choice:
    part, skipped = parts.choose(workspace, steps)
    step = parts.step_of(part) if part else 0
    action = f"went on from step {step}" if part else "began again"
    incidents = [*parts.recorded_incidents(workspace), *(Incident.now(reason, step, action) for reason in skipped)]
    for incident in incidents:
        print(incident, file=sys.stderr, flush=True)
    if part is None:
        return Choice(incidents=incidents)
    return Choice(part.name, bool(part.meta["final"]), _finished(part, steps), incidents)


def _finished(part: Part, steps: int) -> dict[str, Any] | None:
    return dict(part.meta["summary"]) if parts.step_of(part) == steps or parts.diverged(part) else None


def _agreed(value: _T | None) -> _T:
    """Rank 0's value, on every rank."""
    box = [value]
    dist.broadcast_object_list(box, src=0)
    assert box[0] is not None
    return box[0]


def _check(job: Job) -> None:
    """Refuse what cannot work here, before anything is read.

    Raises:
        ConfigError: one sentence per reason.
    """
    layouts.check(
        job.model,
        job.phase.layout,
        job.phase.precision,
        sequence_length=job.phase.sequence_length,
        global_batch_size=job.phase.global_batch_size,
        device="cuda" if HAVE_CUDA else "cpu",
        optimizer=job.optimizer.kind,
        transformer_engine=HAVE_TRANSFORMER_ENGINE,
        compute_capability=torch.cuda.get_device_capability() if HAVE_CUDA else None,
    )
