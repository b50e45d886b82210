"""One attempt at a TRL stage: resume from the newest complete checkpoint, train to the end, leave the finished model as the part `result`.

The stage itself is a `tasks.posttraining.plug.Prepare`. Killed at any moment and started again, a step on a CPU ends with the same
weights, bit for bit; TRL's own resume does the rest, given a complete checkpoint (see `checkpoints`) and the same data.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PrinterCallback

from contracts.errors import SmolflowError
from infra.job import Exit, Job, JobResult, JobSpec, ProgressFile, Stopped, Summary, result_part, stop_on_signal
from infra.store import Store, Workspace
from tasks.posttraining import checkpoints, model_folder
from tasks.posttraining.checkpoints import Ledger
from tasks.posttraining.keeper import Keeper, clear
from tasks.posttraining.plug import Given, Prepare, Prepared
from tasks.posttraining.precision import Precision
from tasks.posttraining.requests import StepRequest
from tasks.posttraining.trl_arguments import Ground
from tasks.training import Spool, StopFlag, Uploader

TRAINING_FILE = "training.json"


@dataclass(frozen=True)
class Start:
    """Where an attempt begins; rank 0 decides, all follow."""

    part: str = ""
    """Checkpoint to go on from; empty: the beginning."""
    notes: tuple[str, ...] = ()
    """What was found on the way."""


def run(spec: JobSpec, stage: Callable[[], tuple[StepRequest, Prepare]]) -> int:
    """Train a step as one rank of its job and return the exit code: 0 done, 75 resume me, 76 a person must decide, 1 failed.

    Args:
        stage: gives the step and what prepares it; called once, so that what is wrong with either is said in result.json.
    """
    job, ground = Job.from_environment(), Ground.here()
    peers = _Peers(ground)
    job.result_file.unlink(missing_ok=True)
    with stop_on_signal() as ignore_signals:
        try:
            result = _as_rank(Attempt(spec, job, *stage(), peers))
        except (Exception, Stopped) as error:
            result = JobResult.of_error(error)
            if not isinstance(error, SmolflowError | Stopped):
                traceback.print_exc()
            print(f"[rank {peers.rank}] {result.reason}", file=sys.stderr, flush=True)
        ignore_signals()
        if peers.rank == 0 or (result.exit != Exit.DONE and not job.result_file.exists()):
            job.write_result(result)
    return int(result.exit)


def _as_rank(attempt: Attempt) -> JobResult:
    spec, job, peers = attempt.spec, attempt.job, attempt.peers
    if peers.rank != 0:
        start = peers.agreed(None)
        if start is not None:
            attempt.run(None, start, job.folder / "out")
        return JobResult(exit=Exit.DONE)
    store = Store.open(spec.store)
    with store.attach(spec.stage, spec.workspace_key, spec.lease) as workspace:
        begun = False

        def make(out: Path) -> Summary:
            nonlocal begun
            begun = True
            part, skipped = checkpoints.choose(workspace)
            said = [f"{why}; {f'went on from {part.name}' if part else 'began again'}" for why in skipped]
            start = Start(part.name if part else "", tuple(said))
            job.materialise(store, spec.inputs)
            clear(job.folder / "resume")
            if part is not None:
                workspace.fetch(part, job.folder / "resume" / part.name)
            peers.agreed(start)
            return attempt.run(workspace, start, out)

        part = result_part(workspace, job.folder, make)
        if not begun:
            peers.agreed(None)
        return JobResult(exit=Exit.DONE, part=part.name, summary=part.meta)


class _Peers:
    """The ranks of a job; alone, nothing is exchanged."""

    def __init__(self, ground: Ground) -> None:
        self.ground, self.rank = ground, int(os.environ.get("RANK", "0"))

    def agreed(self, value: Start | None) -> Start | None:
        """Rank 0's value, on every rank."""
        if self.ground.world_size == 1:
            return value
        from accelerate import PartialState
        from accelerate.utils import broadcast_object_list

        PartialState(cpu=self.ground.device == "cpu")
        box: list[Any] = [value]
        broadcast_object_list(box)
        found: Start | None = box[0]
        return found


@dataclass
class Attempt:
    """One attempt, on one rank."""

    spec: JobSpec
    job: Job
    request: StepRequest
    prepare: Prepare
    peers: _Peers

    def run(self, workspace: Workspace | None, start: Start, out: Path) -> Summary:
        """Train to the end and leave the model in `out`.

        Raises:
            Stopped: a signal asked for it; the step at hand is saved.
            SmolflowError: data or settings that cannot be trained on, a full store, weights that are no numbers.
        """
        began = time.perf_counter()
        placement = self.request.step.placement
        backend = self.peers.ground.backend(placement)
        resume = self.job.folder / "resume" / start.part if start.part else None
        ledger = checkpoints.read_ledger(resume) if resume else Ledger()
        work = self.job.folder / "trl"
        if self.peers.rank == 0:
            clear(work)
        there = {role: self.job.scratch / "artifacts" / one.fingerprint for role, one in self.spec.inputs.items()}
        inputs = model_folder.with_model(there)
        prepared = self.prepare(Given(self.request, inputs, work, self.peers.ground))
        ledger = _opened(ledger, prepared, backend, self.peers.ground, start, time.perf_counter() - began)
        history = (resume / "metrics.jsonl").read_bytes() if resume else b""
        spool = Spool(self.job.folder, history) if self.peers.rank == 0 else None
        uploader = Uploader(workspace, placement.nodes)
        with StopFlag().listening() as stop:
            progress = ProgressFile(self.job.progress_file)
            keeper = Keeper(prepared.trainer, ledger, spool, progress, uploader, stop, backend)
            prepared.trainer.remove_callback(PrinterCallback)  # every step is in metrics.jsonl
            prepared.trainer.add_callback(keeper)
            try:
                prepared.trainer.train(resume_from_checkpoint=str(resume) if resume else None)
            finally:
                uploader.wait()
        if stop.raised and keeper.ledger.step < prepared.trainer.state.max_steps:
            saved = f"step {keeper.ledger.step} is saved"
            raise Stopped(f"stopped by {stop.raised}; {saved}, start it again to go on")
        return self._finished(prepared, keeper, spool, backend, out)

    def _finished(self, prepared: Prepared, keeper: Keeper, spool: Spool | None, backend: str, out: Path) -> Summary:
        metrics = dict(prepared.measure())
        model_folder.save(prepared.trainer, prepared.tokenizer, out, backend)
        if spool is None:
            return Summary()
        if metrics:
            spool.add(keeper.ledger.step, metrics)
        (out / spool.path.name).write_bytes(spool.history())
        summary = _summary(prepared, keeper.ledger, metrics, spool)
        said = {"stage": self.spec.stage, **summary.model_dump(mode="json", include={"counts", "metrics", "evidence", "interventions"})}
        (out / TRAINING_FILE).write_text(json.dumps(said, indent=1) + "\n")
        spool.close()
        return summary


def _opened(ledger: Ledger, prepared: Prepared, backend: str, ground: Ground, start: Start, seconds: float) -> Ledger:
    """The ledger of this attempt: what it began from and what is different from the one before.

    Raises:
        ConfigError: no float32 masters, or another backend than the checkpoint's.
    """
    precision = Precision.of(prepared.trainer, backend)
    precision.require_masters()
    notes = [*ledger.notes, *start.notes]
    if ledger.precision is not None:
        changed = precision.changed_since(ledger.precision)
        notes += [f"step {ledger.step}: {changed}"] if changed else []
        if ledger.ranks != ground.world_size:
            notes.append(f"step {ledger.step}: {ground.world_size} rank(s) after {ledger.ranks}; the same data, another order of sums")
    spent = {**ledger.seconds, "starting": ledger.seconds.get("starting", 0.0) + seconds}
    return ledger.model_copy(update={"notes": notes, "attempts": ledger.attempts + 1, "seconds": spent})


def _summary(prepared: Prepared, ledger: Ledger, metrics: Mapping[str, float], spool: Spool) -> Summary:
    trained = ledger.seconds.get("training", 0.0)
    recent = [line["loss"] for line in spool.recent(20) if "loss" in line]
    speed = {"tokens_per_second": ledger.tokens / trained} if trained and ledger.tokens else {}
    loss = {"loss": sum(recent) / len(recent)} if recent else {}
    evidence = {"ledger": {"tokens": ledger.tokens, "seconds": ledger.seconds, "attempts": ledger.attempts}, **prepared.evidence}
    counts = {"steps": ledger.step, "tokens": ledger.tokens, **prepared.counts}
    return Summary(counts=counts, metrics={**loss, **speed, **metrics}, evidence=evidence, interventions=[*ledger.notes, *prepared.notes])
