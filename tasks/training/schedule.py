"""The learning rate of each step of a phase, as a pure function: nothing of it needs a checkpoint."""

from __future__ import annotations

import math

from tasks.training.config import Schedule


def learning_rate(schedule: Schedule, step: int, steps: int) -> float:
    """Learning rate of step `step` (1 to `steps`) of a phase.

    The values are those of megatron-core's OptimizerParamScheduler: linear warm-up from 0, then constant, or with p the share of the
    decay that is behind, `end + (peak - end) x coefficient`, where the coefficient is 1 - p (linear), (1 + cos(pi p)) / 2 (cosine) or
    1 - sqrt(p) (one_minus_sqrt). Neither the first nor the last step is spent at a rate of 0: the warm-up counts the step itself, the
    decay the steps before it. Source: Smol Training Playbook, schedules (WSD); the 1 - sqrt decay is Haegele et al., 2405.18392.
    """
    peak, warmup = schedule.learning_rate, schedule.warmup_steps
    if step <= warmup:
        return peak * step / warmup
    if schedule.shape == "constant":
        return peak
    behind = (step - 1 - warmup) / (steps - warmup)
    coefficient = {
        "linear": 1.0 - behind,
        "cosine": 0.5 * (math.cos(math.pi * behind) + 1.0),
        "one_minus_sqrt": 1.0 - math.sqrt(behind),
    }[schedule.shape]
    return schedule.end + (peak - schedule.end) * coefficient
