"""The training loop of one phase, on one rank: steps, held-out losses, checkpoints, and the account of it all."""

from __future__ import annotations

import json
import math
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from contracts.errors import InputError
from infra.job import Exit, JobResult, ProgressFile, Summary
from infra.store import Workspace
from infra.store.errors import disk_errors
from models.build import HAVE_CUDA
from models.count import parameters
from models.flops import FORMULA, flops_per_token, measured_peak, published_peak, utilisation
from tasks.training import checkpoint, parts
from tasks.training.batches import MicroBatch, TrainingData, heldout_windows, micro_batches, share_of
from tasks.training.config import Job
from tasks.training.engine import Engine, StepResult
from tasks.training.ledger import Incident, Ledger, State
from tasks.training.schedule import learning_rate
from tasks.training.spool import Spool
from tasks.training.stream import Shards

_RECENT_STEPS = 20


class Diverged(Exception):
    """Loss or gradient is no number any more: only a person can decide how to go on."""


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
    """Train to the end of the phase, or to the step at which some rank was asked to stop.

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
    for step in range(trainer.done + 1, steps + 1):
        asked = stop()
        stopping = trainer.step(step, bool(asked))
        if stopping and step < steps:
            trainer.note(Incident.now(f"asked to stop{f' by {asked}' if asked else ''}", step, "saved a checkpoint"))
            trainer.save(step)
            trainer.finish()
            return JobResult(exit=Exit.RESUME, reason=f"stopped after step {step} of {steps}; start it again to go on", code="stopped")
    trainer.finish()
    return JobResult(exit=Exit.DONE, part=parts.part_name(steps), summary=trainer.summary(steps).model_dump(mode="json"))


class _Trainer:
    def __init__(self, attempt: Attempt, workspace: Workspace | None) -> None:
        self._attempt, self._job, self._phase = attempt, attempt.job, attempt.job.phase
        self._workspace, self._main = workspace, dist.get_rank() == 0
        job, phase, resume, parent = attempt.job, attempt.job.phase, attempt.resume, attempt.inputs.get("parent")
        shards = Shards.open(attempt.inputs["tokenize"])
        if shards.vocab_size != job.model.vocab_size:
            raise InputError(
                f"the shards were made with a vocabulary of {shards.vocab_size:,}, the model has {job.model.vocab_size:,}",
                where=str(shards.folder),
                do="make model.vocab_size and tokenizer.vocab_size equal",
            )
        before, earlier = (State.read(resume) if resume else None), (State.read(parent) if parent else None)
        self.done = before.step if before else 0
        self._data = TrainingData(shards, phase, job.seed, earlier.place_of() if earlier else {}, before.counts if before else None)
        source = resume or parent
        self._engine = Engine(
            job.model, phase.layout, phase.precision, job.optimizer, phase.sequence_length,
            rope_theta=phase.rope_theta, seed=None if source else job.seed,
        )  # fmt: skip
        if source:
            fresh = resume is None and phase.reset_optimizer
            checkpoint.load(source / "checkpoint", self._engine.chunks, None if fresh else self._engine.optimizer)
            if fresh:
                self._engine.optimizer.reload_model_params()
        self._eod = shards.eod if job.model.document_masking else None
        self._share = share_of(*self._engine.replica, phase.global_batch_size)
        self._heldout = self._held_out_batches(shards)
        self._device = torch.cuda.get_device_name() if HAVE_CUDA else "cpu"
        self._peak = published_peak(self._device) if HAVE_CUDA else measured_peak() if self._main else None
        self._flops = flops_per_token(job.model, phase.sequence_length)
        self._ledger = Ledger(phase.layout, self._device, before, earlier)
        self._uploader = parts.Uploader(workspace, _nodes())
        history = (resume / "metrics.jsonl").read_bytes() if resume else b""
        self._spool = Spool(attempt.folder, history) if self._main else None
        self._progress = ProgressFile(attempt.folder / "progress.jsonl") if self._main else None

    def begin(self) -> None:
        """Book the start-up, and say what was found."""
        known = [(one.symptom, one.step, one.when) for one in self._ledger.incidents]
        for incident in self._attempt.incidents:
            if (incident.symptom, incident.step, incident.when) not in known:
                self.note(incident)
        if self._attempt.resume is not None and not self._attempt.lengthened:
            stopped = any(one.step == self.done and one.symptom.startswith("asked to stop") for one in self._ledger.incidents)
            if not stopped:
                self.note(Incident.now("an attempt ended without a word", self.done, f"went on from the checkpoint of step {self.done}"))
        self._ledger.add("restarting", time.perf_counter() - self._attempt.began)
        self._say(self.done, f"begins after step {self.done} of {self._phase.steps}")

    def note(self, incident: Incident) -> None:
        """Add an incident to the account."""
        self._ledger.incidents.append(incident)

    def step(self, step: int, asked_to_stop: bool) -> bool:
        """Train one step, evaluate and save where due; True: some rank was asked to stop."""
        phase, began = self._phase, time.perf_counter()
        windows = self._data.next(phase.global_batch_size, self._share)
        batches = list(micro_batches(windows, phase.layout.micro_batch_size, self._eod))
        rate = learning_rate(phase.schedule, step, phase.steps)
        result = self._engine.step(batches, rate, asked_to_stop)
        seconds = time.perf_counter() - began
        self._ledger.add("productive", seconds)
        if not math.isfinite(result.loss) or (math.isnan(result.grad_norm) or math.isinf(result.grad_norm)):
            self._diverge(step, result, rate)
        self._record(step, result, rate, seconds)
        last = step == phase.steps
        if step % phase.evaluate_every == 0 or last:
            self._evaluate(step)
        if step % phase.checkpoint_every == 0 or last:
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
        with self._ledger.timed("checkpointing"):
            if self._workspace is not None:
                (folder / "checkpoint").mkdir(parents=True, exist_ok=True)
            dist.barrier()
            with self._engine.weights_in_place():
                checkpoint.save(folder / "checkpoint", self._engine.chunks, self._engine.optimizer)
            if self._main:
                with disk_errors(str(folder)):
                    self._write_records(folder, step)
        about = {"summary": self.summary(step).model_dump(mode="json")} if self._main else {}
        self._uploader.start(parts.part_name(step), folder, {"step": step, "final": step == self._phase.steps, **about})

    def finish(self) -> None:
        """Until the store has confirmed everything, on every rank: the first one to leave would end the others."""
        self._uploader.wait()
        if self._spool is not None:
            self._spool.close()
        dist.barrier()

    def state(self, step: int) -> State:
        """The account at the end of `step`."""
        return self._ledger.state(step, self._data.counts, self._data.places(), self._phase.sequence_length)

    def summary(self, step: int) -> Summary:
        """What there is to say about the phase up to `step`."""
        state, phase = self.state(step), self._phase
        tokens, productive = step * phase.tokens_per_step, state.seconds.get("productive", 0.0)
        speed = tokens / productive if productive else 0.0
        metrics = {"tokens_per_second": speed}
        evidence: dict[str, Any] = {
            "ledger": {"phase_tokens": state.phase_tokens, "total_tokens": state.total_tokens, "seconds": state.seconds},
            "epochs": {s: state.total_tokens[s] / size for s, size in self._data.source_tokens().items()},
            "incidents": [incident.model_dump(mode="json") for incident in state.incidents],
        }
        if self._spool is not None:
            recent = self._spool.recent(_RECENT_STEPS)
            losses = [values["loss"] for values in recent if "loss" in values]
            metrics |= {"loss": statistics.fmean(losses)} if losses else {}
            metrics |= {name: value for values in recent for name, value in values.items() if name.startswith("heldout_loss/")}
        if self._peak is not None:
            metrics["mfu"] = utilisation(speed, self._flops, self._peak, dist.get_world_size())
            evidence["mfu"] = {"formula": FORMULA, "peak_flops": self._peak.flops, "peak": self._peak.source}
        return Summary(
            counts={"steps": step, "tokens": tokens, "parameters": parameters(self._job.model)},
            metrics=metrics,
            evidence=evidence,
            layouts=[leg.model_dump(mode="json") for leg in state.legs],
            interventions=[str(incident) for incident in state.incidents],
        )

    def _record(self, step: int, result: StepResult, rate: float, seconds: float) -> None:
        if self._spool is None:
            return
        speed = self._phase.tokens_per_step / seconds
        values = {"loss": result.loss, "grad_norm": result.grad_norm, "learning_rate": rate, "tokens_per_second": speed}
        if self._peak is not None:
            values["mfu"] = utilisation(speed, self._flops, self._peak, dist.get_world_size())
        if step % self._phase.log_every == 0 or step in (1, self._phase.steps):
            self._spool.add(step, values)
        self._say(step, f"loss {result.loss:.3f}, {speed / 1000:.1f}k tokens/s")

    def _say(self, step: int, note: str) -> None:
        if self._progress is not None:
            self._progress(step, self._phase.steps, note)

    def _evaluate(self, step: int) -> None:
        with self._ledger.timed("evaluating"):
            losses = {f"heldout_loss/{source}": self._engine.evaluate(batches) for source, batches in self._heldout.items()}
        if self._spool is not None and losses:
            self._spool.add(step, losses)

    def _held_out_batches(self, shards: Shards) -> dict[str, list[MicroBatch]]:
        """Per source this replica's part of the held-out sequences; windows of weight 0 fill up to whole micro-batches everywhere."""
        phase, (rank, replicas) = self._phase, self._engine.replica
        layout, found = phase.layout, {}
        unit = layout.micro_batch_size * replicas * layout.pipeline_parallel_size
        for source in phase.shares:
            windows = heldout_windows(shards, source, phase.sequence_length, phase.evaluation_sequences)
            if windows is None:
                continue
            missing = -len(windows) % unit
            weights = np.r_[np.ones(len(windows), np.float32), np.zeros(missing, np.float32)]
            windows = np.concatenate([windows, np.repeat(windows[:1], missing, axis=0)])
            mine = share_of(rank, replicas, len(windows))
            found[source] = list(micro_batches(windows[mine], layout.micro_batch_size, self._eod, weights[mine]))
        return found

    def _write_records(self, folder: Path, step: int) -> None:
        assert self._spool is not None
        self.state(step).write(folder)
        (folder / "metrics.jsonl").write_bytes(self._spool.history())
        (folder / "model.json").write_text(json.dumps(self._job.model.model_dump(mode="json"), indent=1))
        about = {"phase": self._phase, "optimizer": self._job.optimizer}
        training = {name: one.model_dump(mode="json") for name, one in about.items()} | {"seed": self._job.seed}
        (folder / "training.json").write_text(json.dumps(training, indent=1))

    def _diverge(self, step: int, result: StepResult, rate: float) -> None:
        incident = Incident.now(
            f"loss {result.loss:.4g}, gradient norm {result.grad_norm:.4g}", step, "stopped before the next checkpoint", learning_rate=rate
        )
        self._uploader.wait()
        if self._main and self._workspace is not None:
            parts.record_incident(self._workspace, incident, self._attempt.folder)
        dist.barrier()
        raise Diverged(
            f"training diverged at step {step}: {incident.symptom}. The last checkpoint is from before.\n"
            "  What to do: lower learning_rate, lengthen warmup_steps or tighten clip_grad, and look at the data of that step"
        )


def _nodes() -> int:
    """Machines of the job, from torchrun's environment."""
    world = dist.get_world_size()
    return max(1, world // int(os.environ.get("LOCAL_WORLD_SIZE", world)))
