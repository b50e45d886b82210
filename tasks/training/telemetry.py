"""What rank 0 says while it trains: the metric spool, progress, and the summary that goes into the manifest."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from infra.job import ProgressFile, Summary
from models.build import HAVE_CUDA
from models.count import parameters
from models.flops import FORMULA, flops_per_token, measured_peak, published_peak, utilisation
from tasks.training.config import Job
from tasks.training.ledger import State
from tasks.training.spool import Spool

RECENT_STEPS = 20
"""Steps over which the summary's loss is averaged."""
HELD_OUT = "heldout_loss/"


def device_name() -> str:
    """What this rank computes on: the GPU's name, or cpu."""
    return torch.cuda.get_device_name() if HAVE_CUDA else "cpu"


class Telemetry:
    """Model FLOP utilisation is by the `megatron` convention of models.flops, against the GPU's dense bfloat16 data sheet, or on a CPU
    against a float32 matrix product that is measured at the start; where a GPU is in no table it is left out."""

    def __init__(self, job: Job, folder: Path, history: bytes) -> None:
        self._job, self._phase = job, job.phase
        self._spool = Spool(folder, history)
        self._progress = ProgressFile(folder / "progress.jsonl")
        self._flops = flops_per_token(job.model, job.phase.sequence_length)
        self._peak = published_peak(device_name()) if HAVE_CUDA else measured_peak()

    def begin(self, step: int) -> None:
        """Where this attempt begins: also a line of the log, since progress that is soon followed by more is not shown."""
        note = f"begins after step {step} of {self._phase.steps}"
        print(note, file=sys.stderr, flush=True)
        self.say(step, note)

    def say(self, step: int, note: str) -> None:
        """How far the phase is."""
        self._progress(step, self._phase.steps, note)

    def step(self, step: int, loss: float, grad_norm: float, rate: float, seconds: float) -> None:
        """What one step gave."""
        speed = self._phase.tokens_per_step / seconds
        values = {"loss": loss, "grad_norm": grad_norm, "learning_rate": rate, "tokens_per_second": speed} | self._utilisation(speed)
        if step % self._phase.log_every == 0 or step in (1, self._phase.steps):
            self._spool.add(step, values)
        self.say(step, f"loss {loss:.3f}, {speed / 1000:.1f}k tokens/s")

    def heldout(self, step: int, losses: Mapping[str, float]) -> None:
        """Held-out loss of each source."""
        if losses:
            self._spool.add(step, {f"{HELD_OUT}{source}": loss for source, loss in losses.items()})

    def history(self) -> bytes:
        """All points so far, for a checkpoint."""
        return self._spool.history()

    def close(self) -> None:
        """The last word was said."""
        self._spool.close()

    def summary(self, step: int, state: State, stream_tokens: Mapping[str, int]) -> Summary:
        """The phase up to `step`.

        Args:
            stream_tokens: length of each source, for the number of passes over it.
        """
        tokens, productive = step * self._phase.tokens_per_step, state.seconds.get("productive", 0.0)
        speed = tokens / productive if productive else 0.0
        recent = self._spool.recent(RECENT_STEPS)
        losses = [values["loss"] for values in recent if "loss" in values]
        heldout = {name: value for values in recent for name, value in values.items() if name.startswith(HELD_OUT)}
        evidence: dict[str, Any] = {
            "ledger": {"phase_tokens": state.phase_tokens, "total_tokens": state.total_tokens, "seconds": state.seconds},
            "epochs": {source: state.total_tokens[source] / length for source, length in stream_tokens.items()},
            "incidents": [incident.model_dump(mode="json") for incident in state.incidents],
        }
        if self._peak is not None:
            evidence["mfu"] = {"formula": FORMULA, "peak_flops": self._peak.flops, "peak": self._peak.source}
        return Summary(
            counts={"steps": step, "tokens": tokens, "parameters": parameters(self._job.model)},
            metrics={
                "tokens_per_second": speed,
                **({"loss": statistics.fmean(losses)} if losses else {}),
                **heldout,
                **self._utilisation(speed),
                **({"diverged_at": state.diverged_at} if state.diverged_at is not None else {}),
            },
            evidence=evidence,
            layouts=[leg.model_dump(mode="json") for leg in state.legs],
            interventions=[str(incident) for incident in state.incidents],
        )

    def _utilisation(self, speed: float) -> dict[str, float]:
        if self._peak is None:
            return {}
        return {"mfu": utilisation(speed, self._flops, self._peak, self._phase.layout.world_size)}
