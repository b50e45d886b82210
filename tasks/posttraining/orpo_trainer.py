"""TRL's ORPO trainer with the token count that its other trainers log. Only workers import this module."""

from __future__ import annotations

from typing import Any

from trl.experimental.orpo import ORPOTrainer


class CountedOrpo(ORPOTrainer):  # type: ignore[misc]
    """ORPO that logs `num_tokens`: what this process and its fellow ranks have read, prompt and answer of both sides, padding apart."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._read = 0

    def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """The loss of one micro batch, whose tokens are counted."""
        mine = inputs["chosen_attention_mask"].sum() + inputs["rejected_attention_mask"].sum()
        self._read += int(self.accelerator.gather_for_metrics(mine).sum())
        return super().compute_loss(model, inputs, *args, **kwargs)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log, with the tokens so far: a stored metric would be averaged over the micro batches."""
        super().log({**logs, "num_tokens": float(self._read)}, start_time)
