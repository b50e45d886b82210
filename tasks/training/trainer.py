"""The training loop of one phase, on one rank: steps, held-out losses, checkpoints, and the account of it all."""

from __future__ import annotations

import gc
import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch.distributed as dist

from contracts.errors import InputError
from infra.job import Exit, JobResult
from infra.store import Workspace
from infra.store.errors import disk_errors
from tasks.training import checkpoint, parts
from tasks.training.batches import TrainingData, micro_batches, share_of
from tasks.training.config import Job, Phase
from tasks.training.divergence import LossWatch
from tasks.training.engine import Engine, StepResult
from tasks.training.heldout import HeldOut
from tasks.training.ledger import Incident, Ledger, State
from tasks.training.schedule import learning_rate
from tasks.training.stream import Shards
from tasks.training.telemetry import Telemetry, device_name


class Diverged(Exception):
    """Loss or gradient is no number any more, and the job was not told to end then: only a person can decide how to go on."""


@dataclass(frozen=True)
class Attempt:
    """What one attempt at a phase starts from."""

    job: Job
    """Model, phase, optimizer, seed."""
    inputs: dict[str, Path]
    """Local folders: `tokenize`, and `parent` where the phase goes on from another."""
    resume: Path | None
    """Local folder of the checkpoint to go on from."""
    lengthened: bool
    """That checkpoint was the end of the phase once."""
    incidents: list[Incident]
    """What was found while it was chosen."""
    folder: Path
    """The job's local folder."""
    began: float
    """time.perf_counter() at the start of the process."""


def train(attempt: Attempt, workspace: Workspace | None, stop: Callable[[], str]) -> JobResult:
    """Train to the end of the phase, or to the step at which it diverged (where the job ends then), or some rank was asked to stop.

    Args:
        workspace: on the first rank of each node; None elsewhere.
        stop: name of the signal that asked this rank to stop, or "".

    Raises:
        Diverged: loss or gradient norm is not finite; the incident is recorded, no checkpoint of it is.
        ResourceError: no room for a checkpoint; the ones before it are untouched.
        InputError: shards that do not fit the model or the mixture.
    """
    trainer = _Trainer(attempt, workspace)
    steps = attempt.job.phase.steps
    trainer.begin()
    gc.freeze()  # what is there by now stays to the end: collections during the steps need not look at it
    for step in range(trainer.done + 1, steps + 1):
        asked = stop()
        asked_anywhere = trainer.step(step, bool(asked))
        if trainer.diverged:
            break
        if asked_anywhere and step < steps:
            trainer.note(Incident.now(f"asked to stop by {asked or 'another rank'}", step, "saved a checkpoint"))
            trainer.save(step)
            trainer.finish()
            return JobResult(exit=Exit.RESUME, reason=f"stopped after step {step} of {steps}; start it again to go on", code="stopped")
    trainer.finish()
    return JobResult(exit=Exit.DONE, part=parts.part_name(trainer.done), summary=trainer.summary(trainer.done))


class _Trainer:
    def __init__(self, attempt: Attempt, workspace: Workspace | None) -> None:
        self._attempt, self._job, self._phase = attempt, attempt.job, attempt.job.phase
        self._workspace = workspace
        phase, resume, parent = self._phase, attempt.resume, attempt.inputs.get("parent")
        shards = _shards(attempt)
        before, earlier = (State.read(resume) if resume else None), (State.read(parent) if parent else None)
        self.done = before.step if before else 0
        """Steps behind."""
        self.diverged = False
        """The last one of them was the end of the phase."""
        self._losses = _watch(phase, before, earlier)
        self._data = TrainingData(
            shards, phase, self._job.seed, earlier.place_of() if earlier else {}, before.counts if before else None
        )  # fmt: skip
        self._engine = _engine(attempt)
        eod = shards.eod if self._job.model.document_masking else None
        self._cut = (phase.layout.micro_batch_size, eod)
        self._share = share_of(*self._engine.replica, phase.global_batch_size)
        self._heldout = HeldOut(shards, phase, self._engine, eod)
        self._ledger = Ledger(phase.layout, device_name(), before, earlier)
        self._uploader = parts.Uploader(workspace, _nodes())
        self._telemetry: Telemetry | None = None
        if dist.get_rank() == 0:
            history = (resume / parts.SPOOL_FILE).read_bytes() if resume else b""
            self._telemetry = Telemetry(self._job, attempt.folder, history)

    def begin(self) -> None:
        """Book the start-up, and what was found."""
        known = [(one.symptom, one.step, one.when) for one in self._ledger.incidents]
        for incident in self._attempt.incidents:
            if (incident.symptom, incident.step, incident.when) not in known:
                self.note(incident)
        stopped = any(one.step == self.done and one.symptom.startswith("asked to stop") for one in self._ledger.incidents)
        if self._attempt.resume is not None and not self._attempt.lengthened and not stopped:
            self.note(Incident.now("an attempt ended without a word", self.done, f"went on from the checkpoint of step {self.done}"))
        dist.barrier()
        if self._attempt.resume is not None and self._workspace is not None:
            shutil.rmtree(self._attempt.resume, ignore_errors=True)  # read by every rank
        self._ledger.add("restarting", time.perf_counter() - self._attempt.began)
        if self._telemetry is not None:
            self._telemetry.begin(self.done)

    def note(self, incident: Incident) -> None:
        """Add an incident to the account."""
        self._ledger.incidents.append(incident)

    def step(self, step: int, asked_to_stop: bool) -> bool:
        """Train one step, evaluate and save where due; True: some rank was asked to stop."""
        phase, began = self._phase, time.perf_counter()
        windows = self._data.next(phase.global_batch_size, self._share)
        rate = learning_rate(phase.schedule, step, phase.steps)
        result = self._engine.step(list(micro_batches(windows, *self._cut)), rate, asked_to_stop)
        seconds = time.perf_counter() - began
        self._ledger.add("productive", seconds)
        self.done = step
        self._judge(step, result, rate)
        if self._telemetry is not None:
            self._telemetry.step(step, result.loss, result.grad_norm, rate, seconds)
        last = step == phase.steps or self.diverged
        if not self.diverged and (last or step % phase.evaluate_every == 0):
            self._evaluate(step)
        if last or step % phase.checkpoint_every == 0:
            self.save(step)
        self._uploader.check()
        return result.stop

    def save(self, step: int) -> None:
        """Write a checkpoint and begin to upload it.

        Raises:
            ResourceError: no room for it.
        """
        with self._ledger.timed("waiting"):
            self._uploader.wait()
        folder = self._attempt.folder / "parts" / parts.part_name(step)
        with self._ledger.timed("checkpointing"), disk_errors(str(folder)):
            if self._workspace is not None:
                (folder / "checkpoint").mkdir(parents=True, exist_ok=True)
            dist.barrier()
            with self._engine.weights_in_place():
                checkpoint.save(folder / "checkpoint", self._engine.chunks, self._engine.optimizer)
            if self._telemetry is not None:
                self._write_records(folder, step, self._telemetry)
        meta = {"step": step, "final": step == self._phase.steps, "summary": self.summary(step)}
        if self.diverged:
            meta["diverged_at"] = step
        self._uploader.start(parts.part_name(step), folder, meta)

    def finish(self) -> None:
        """Until the store has confirmed everything, on every rank: the first one to leave would end the others."""
        self._uploader.wait()
        if self._telemetry is not None:
            self._telemetry.close()
        gc.unfreeze()
        self._engine.close()
        dist.barrier()

    def summary(self, step: int) -> dict[str, object]:
        """What there is to say about the phase up to `step`; empty on all ranks but the first."""
        if self._telemetry is None:
            return {}
        return self._telemetry.summary(step, self._state(step), self._data.source_tokens()).model_dump(mode="json")

    def _state(self, step: int) -> State:
        return self._ledger.state(step, self._data.counts, self._data.places(), self._phase.sequence_length, self._losses, self.diverged)

    def _evaluate(self, step: int) -> None:
        with self._ledger.timed("evaluating"):
            losses = self._heldout.losses()
        if self._telemetry is not None:
            self._telemetry.heldout(step, losses)

    def _write_records(self, folder: Path, step: int, telemetry: Telemetry) -> None:
        self._state(step).write(folder)
        (folder / parts.SPOOL_FILE).write_bytes(telemetry.history())
        (folder / "model.json").write_text(json.dumps(self._job.model.model_dump(mode="json"), indent=1))
        (folder / "training.json").write_text(json.dumps(self._job.model_dump(mode="json", exclude={"model"}), indent=1))

    def _judge(self, step: int, result: StepResult, rate: float) -> None:
        """Look whether the phase diverges: it then ends here, where the job says so; else only what is no number is a reason to stop."""
        symptom = self._losses.broken(result.loss, result.grad_norm)
        if symptom and not self._job.end_when_diverged:
            self._give_up(step, symptom, rate)
        symptom = symptom or self._losses.worse(step, result.loss)
        if symptom and self._job.end_when_diverged:
            self.diverged = True
            self.note(Incident.now(f"diverged: {symptom}", step, "ended the phase here", learning_rate=rate))

    def _give_up(self, step: int, symptom: str, rate: float) -> None:
        incident = Incident.now(symptom, step, "stopped before the next checkpoint", learning_rate=rate)
        self._uploader.wait()
        if self._workspace is not None and dist.get_rank() == 0:
            parts.record_incident(self._workspace, incident, self._attempt.folder)
        dist.barrier()
        raise Diverged(
            f"training diverged at step {step}: {symptom}. The last checkpoint is from before.\n"
            "  What to do: lower learning_rate, lengthen warmup_steps or tighten clip_grad, and look at the data of that step"
        )


def _watch(phase: Phase, before: State | None, parent: State | None) -> LossWatch:
    initial = next((state.initial_loss for state in (before, parent) if state and state.initial_loss is not None), None)
    return LossWatch(phase.schedule.warmup_steps, initial, before.recent_losses if before else ())


def _shards(attempt: Attempt) -> Shards:
    shards, model = Shards.open(attempt.inputs["tokenize"]), attempt.job.model
    if shards.vocab_size != model.vocab_size:
        raise InputError(
            f"the shards were made with a vocabulary of {shards.vocab_size:,}, the model has {model.vocab_size:,}",
            where=str(shards.folder),
            do="make model.vocab_size and tokenizer.vocab_size equal",
        )
    return shards


def _engine(attempt: Attempt) -> Engine:
    """The engine with what it goes on from: this phase's checkpoint, else the phase before, else initial weights."""
    job, phase = attempt.job, attempt.job.phase
    source = attempt.resume or attempt.inputs.get("parent")
    engine = Engine(
        job.model, phase.layout, phase.precision, job.optimizer, phase.sequence_length,
        rope_theta=phase.rope_theta, seed=None if source else job.seed,
    )  # fmt: skip
    if source:
        weights_only = attempt.resume is None and phase.reset_optimizer
        checkpoint.load(source / "checkpoint", engine.chunks, None if weights_only else engine.optimizer)
        if weights_only:
            engine.optimizer.reload_model_params()
    return engine


def _nodes() -> int:
    """Machines of the job, from torchrun's environment."""
    world = dist.get_world_size()
    return max(1, world // int(os.environ.get("LOCAL_WORLD_SIZE", world)))
