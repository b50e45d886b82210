"""Learning rates: megatron-core's own scheduler is the reference."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from models import backend  # noqa: F401  before megatron.core
from tasks.training.config import Schedule
from tasks.training.schedule import learning_rate

# isort: split
from megatron.core.optimizer_param_scheduler import OptimizerParamScheduler

PEAK, STEPS = 2e-3, 40


def core(shape: str, warmup: int, end: float) -> list[float]:
    """Rate after each number of steps, from megatron-core."""
    group: dict[str, Any] = {}
    style = {"one_minus_sqrt": "WSD"}.get(shape, shape)
    scheduler = OptimizerParamScheduler(
        SimpleNamespace(param_groups=[group]), init_lr=0.0, max_lr=PEAK, min_lr=end, lr_warmup_steps=warmup, lr_decay_steps=STEPS,
        lr_decay_style=style, start_wd=0.1, end_wd=0.1, wd_incr_steps=STEPS, wd_incr_style="constant",
        wsd_decay_steps=STEPS - warmup, lr_wsd_decay_style="minus_sqrt",
    )  # fmt: skip
    found = [group["lr"]]
    for _ in range(STEPS):
        scheduler.step(1)
        found.append(group["lr"])
    return found


@pytest.mark.parametrize("shape", ["constant", "linear", "cosine", "one_minus_sqrt"])
@pytest.mark.parametrize(("warmup", "fraction"), [(0, 0.0), (5, 0.0), (5, 0.1)])
def test_rates_are_those_of_megatron_core(shape: Any, warmup: int, fraction: float) -> None:
    fraction = 0.0 if shape == "constant" else fraction
    schedule = Schedule(shape=shape, learning_rate=PEAK, warmup_steps=warmup, final_fraction=fraction)
    theirs = core(shape, warmup, PEAK * fraction)
    mine = [learning_rate(schedule, step, STEPS) for step in range(1, STEPS + 1)]
    assert mine[:warmup] == pytest.approx(theirs[1 : warmup + 1])
    assert mine[warmup:] == pytest.approx(theirs[warmup:STEPS])


def test_no_step_is_spent_at_zero() -> None:
    schedule = Schedule(shape="linear", learning_rate=PEAK, warmup_steps=4)
    rates = [learning_rate(schedule, step, STEPS) for step in range(1, STEPS + 1)]
    assert min(rates) > 0
    assert max(rates) == PEAK
    assert rates[-1] == pytest.approx(PEAK / (STEPS - 4))


def test_a_constant_phase_knows_nothing_of_its_length() -> None:
    schedule = Schedule(learning_rate=PEAK, warmup_steps=10)
    assert not schedule.depends_on_length
    assert [learning_rate(schedule, s, 20) for s in range(1, 21)] == [learning_rate(schedule, s, 10**6) for s in range(1, 21)]
    assert all(Schedule(shape=shape, learning_rate=PEAK).depends_on_length for shape in ("linear", "cosine", "one_minus_sqrt"))
