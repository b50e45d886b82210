"""What is kept of a TRL trainer while it runs: metrics, progress, ledger, and each complete checkpoint as a part of the workspace."""

from __future__ import annotations

import json
import math
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from contracts.errors import GateError
from infra.job import Progress
from tasks.posttraining.checkpoints import LEDGER_FILE, UNUSED, Ledger, meta, part_name, require_complete
from tasks.posttraining.precision import Precision
from tasks.training import Spool, StopFlag, Uploader

TOKENS = "num_tokens"
"""Name under which TRL logs the tokens that this process has read."""
_END = ("train_", "total_flos")


class Keeper(TrainerCallback):
    """Keeps the books of one attempt. Every rank has one; the files are rank 0's.

    Args:
        ledger: of the checkpoint that is gone on from, or a new one.
        spool: metrics.jsonl of the job, None on other ranks.
        uploader: takes finished checkpoints.
        stop: raised by a signal: the step at hand is finished and saved.
        backend: what spreads the model.
    """

    def __init__(
        self, trainer: Any, ledger: Ledger, spool: Spool | None, progress: Progress, uploader: Uploader, stop: StopFlag, backend: str
    ) -> None:
        self._trainer, self._spool, self._progress, self._uploader = trainer, spool, progress, uploader
        self._stop, self._backend = stop, backend
        self._together = int(getattr(trainer, "rollout_steps", 1))  # updates on one batch of answers, which no checkpoint holds
        self.ledger, self._before = ledger, ledger.tokens
        self._ended, self._counted = time.perf_counter(), ledger.tokens
        self._logged: float | None = None
        self._checked = False
        self._note = ""

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """The first step begins. Where it goes on is a line of the log: progress that is soon followed by more is not shown."""
        self._ended = time.perf_counter()
        if self._spool is not None:
            print(f"begins after step {self.ledger.step} of {state.max_steps}", file=sys.stderr, flush=True)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """A step is over: save and end where a signal asked for it; the end itself needs no checkpoint, the result follows."""
        if not self._checked:  # the optimizer has no moments before
            Precision.of(self._trainer, self._backend).require_masters()
            self._checked = True
        self._spend("training")
        self.ledger = self.ledger.model_copy(update={"step": state.global_step})
        if self._stopped() and state.global_step < state.max_steps and state.global_step % self._together == 0:
            control.should_save = control.should_training_stop = True
        elif state.global_step >= state.max_steps:
            control.should_save = False
        self._progress(state.global_step, state.max_steps, self._note)

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> None:
        """Write a line of metrics.jsonl; tokens are those of all attempts."""
        if not logs or any(name.startswith(_END) for name in logs):
            return
        values = {name: float(value) for name, value in logs.items() if isinstance(value, int | float)}
        if "loss" in values:
            _require_finite(values["loss"], state.global_step)
            tokens = self._before + int(values.get(TOKENS, 0))
            values |= {TOKENS: tokens, **self._speed(tokens)}
            self.ledger = self.ledger.model_copy(update={"tokens": tokens})
            self._note = _said(values)
        if self._spool is not None:
            self._spool.add(state.global_step, values)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Hand a checkpoint to the store. The store's confirmation of the one before is waited for."""
        self._trainer.accelerator.wait_for_everyone()
        self._uploader.wait()
        folder = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
        self.ledger = self.ledger.model_copy(
            update={
                "step": state.global_step, "ranks": args.world_size, "precision": Precision.of(self._trainer, self._backend),
            }
        )  # fmt: skip
        if self._spool is not None:
            for name in UNUSED:
                (folder / name).unlink(missing_ok=True)
            (folder / self._spool.path.name).write_bytes(self._spool.history())
            (folder / LEDGER_FILE).write_text(json.dumps(self.ledger.model_dump(mode="json"), indent=1))
            require_complete(folder, self._backend, args.world_size)
        self._uploader.start(part_name(state.global_step), folder, meta(self.ledger))
        self._spend("saving")

    def _spend(self, activity: str) -> None:
        now = time.perf_counter()
        seconds = dict(self.ledger.seconds)
        seconds[activity] = seconds.get(activity, 0.0) + now - self._ended
        self._ended = now
        self.ledger = self.ledger.model_copy(update={"seconds": seconds})

    def _speed(self, tokens: int) -> dict[str, float]:
        """Tokens per second since the last line."""
        now, read, before = time.perf_counter(), tokens - self._counted, self._logged
        self._counted, self._logged = tokens, now
        return {"tokens_per_second": read / (now - before)} if before is not None and read > 0 else {}

    def _stopped(self) -> bool:
        """Whether any rank was told to stop: all must come to the same end."""
        if self._trainer.args.world_size == 1:
            return bool(self._stop.raised)
        import torch

        raised = torch.tensor(bool(self._stop.raised), device=self._trainer.accelerator.device, dtype=torch.float32)
        return bool(self._trainer.accelerator.reduce(raised, "sum") > 0)


def _require_finite(loss: float, step: int) -> None:
    if not math.isfinite(loss):
        do = "lower the learning rate; it goes on from the checkpoint before"
        raise GateError(f"the loss is {loss} at step {step}: training diverged", where="training", do=do)


def _said(values: Mapping[str, float]) -> str:
    """The latest figures in a few words."""
    parts = [f"{name} {values[name]:.3f}" for name in ("loss", "reward", "rewards/margins") if name in values]
    speed = values.get("tokens_per_second")
    return ", ".join(parts + ([f"{speed / 1000:.1f}k tokens/s"] if speed else []))


def clear(folder: Path) -> None:
    """Remove what an earlier attempt left in its local folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
