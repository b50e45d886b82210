"""Divergence: a loss that is no number, or that stays above where training began (Smol Training Playbook, divergence auto-kill)."""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Sequence

WINDOW = 10
"""Steps whose mean loss is held against the initial loss: one bad batch is no divergence."""


class LossWatch:
    """The last losses of a phase against its initial loss. Every rank sees the same losses, so all come to the same end.

    The initial loss is that of the first step of the first phase: a phase that goes on from trained weights begins low, and the noise
    between its batches would soon pass for divergence.
    """

    def __init__(self, warmup_steps: int, initial: float | None = None, recent: Sequence[float] = ()) -> None:
        """`initial` and `recent`: where an earlier attempt, or the phase before, stopped."""
        self._warmup = warmup_steps
        self.initial = initial
        self._recent = deque(recent, maxlen=WINDOW)

    @property
    def recent(self) -> list[float]:
        """Losses of the last steps, at most ten, in nats per token."""
        return list(self._recent)

    def broken(self, loss: float, grad_norm: float) -> str:
        """What is wrong where loss or gradient norm is not finite; else ''."""
        finite = math.isfinite(loss) and math.isfinite(grad_norm)
        return "" if finite else f"loss {loss:.4g}, gradient norm {grad_norm:.4g}"

    def worse(self, step: int, loss: float) -> str:
        """Take in the finite loss of `step`; what is wrong where ten steps after the warm-up average above the initial loss, else ''."""
        if self.initial is None:
            self.initial = loss
        self._recent.append(loss)
        mean = statistics.fmean(self._recent)
        if step < self._warmup + WINDOW or len(self._recent) < WINDOW or mean <= self.initial:
            return ""
        return f"mean loss of the last {WINDOW} steps {mean:.4g}, above the initial {self.initial:.4g}"
