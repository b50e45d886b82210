"""Alarms over planted histories: each sign is seen, and a healthy training is left alone."""

from __future__ import annotations

import random
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from contracts.errors import GateError
from tasks.posttraining.alarms import Alarm, alarms, along, heldout, readings
from tasks.posttraining.config import Alarms

LIMITS = Alarms(window=10)


def history(steps: int = 60, held: Callable[[float], float] | None = None, **curves: Callable[[float], float]) -> list[dict[str, Any]]:
    """TRL's log history; a curve gives a figure at the share of the training that is behind."""
    base: dict[str, Callable[[float], float]] = {
        "reward": lambda at: 0.4 + 0.3 * at, "completions/mean_length": lambda at: 27.0, "completions/clipped_ratio": lambda at: 0.0,
        "dead_groups": lambda at: 0.3, "reflective": lambda at: 0.0,
    }  # fmt: skip
    named = {name.replace("__", "/"): curve for name, curve in curves.items()}
    found: list[dict[str, Any]] = []
    for step in range(1, steps + 1):
        at = step / steps
        if step % 10 == 1 and held is not None:
            found.append({"step": step - 1, "eval_rewards/exact_answer/mean": held(at)})
        found.append({"step": step, "loss": 0.1, **{name: curve(at) for name, curve in {**base, **named}.items()}})
    return found


def raised(lines: list[dict[str, Any]], limits: Alarms = LIMITS, prompts: int = 64) -> list[Alarm]:
    """Alarms at the end of a history."""
    return alarms(readings(lines), heldout(lines, "exact_answer", prompts), limits)


def names(lines: list[dict[str, Any]], limits: Alarms = LIMITS) -> list[str]:
    """Their names."""
    return [alarm.name for alarm in raised(lines, limits)]


def test_a_healthy_training_raises_nothing() -> None:
    """The reward rises, held-out accuracy with it, length stays."""
    rng = random.Random(0)
    assert not names(history(held=lambda at: 0.5 + 0.3 * at, reward=lambda at: 0.4 + 0.3 * at + rng.gauss(0, 0.05)))


def test_a_length_hack_is_seen() -> None:
    """SmolLM3's: reward .35 -> .78, length 991 -> 7,549 tokens."""
    lines = history(reward=lambda at: 0.35 + 0.43 * at, completions__mean_length=lambda at: 991 + 6558 * at)
    (alarm,) = raised(lines)
    assert (alarm.name, alarm.stops) == ("length_growth", False)
    assert "overlong" in alarm.do
    assert not names(history(completions__mean_length=lambda at: 550 + 682 * at))  # with the penalty, window 3,500 to 4,000


def test_reflective_style_is_seen_where_it_is_new() -> None:
    """A parent that always reflected is no alarm."""
    assert names(history(reflective=lambda at: 0.6 * at)) == ["reflective"]
    assert not names(history(reflective=lambda at: 0.5 + 0.2 * at))


def test_cut_answers_are_seen() -> None:
    """By their share in the last window."""
    assert names(history(completions__clipped_ratio=lambda at: 0.5 * at)) == ["truncated"]


def test_dead_groups_are_seen() -> None:
    """Nearly every group all right or all wrong."""
    assert names(history(dead_groups=lambda at: 0.97)) == ["no_signal"]


def test_punished_correct_answers_are_seen() -> None:
    """The window of the penalty has been grown into."""
    assert names(history(overlong__punished_correct=lambda at: 0.2 * at)) == ["punished_correct"]


def test_a_reward_out_of_order_is_seen() -> None:
    """A judge that went down half-way; which fault it was is no reward of its own."""
    lines = history(faults__judge=lambda at: float(at > 0.5), faults__judge__unavailable=lambda at: 16.0, faults__format=lambda at: 0.0)
    (alarm,) = raised(lines)
    assert alarm.name == "reward_out_of_order"
    assert "'judge'" in alarm.what


def test_a_reward_that_rises_while_held_out_accuracy_does_not_is_seen() -> None:
    """Learned by heart, or gamed."""
    (alarm,) = raised(history(held=lambda at: 0.5, reward=lambda at: 0.3 + 0.5 * at), prompts=256)
    assert alarm.name == "heldout_flat"


def test_a_few_held_out_prompts_prove_nothing() -> None:
    """With 16 prompts, no gain in sight is within their noise."""
    lines = history(held=lambda at: 0.5, reward=lambda at: 0.4 + 0.2 * at)
    assert not raised(lines, prompts=16)
    assert not raised(history(held=lambda at: 0.0, reward=lambda at: 0.1 + 0.3 * at), prompts=16)


def test_a_falling_reward_stops_the_training() -> None:
    """.16 -> .00 within 40 steps, as at a learning rate six times too high."""
    lines = history(40, reward=lambda at: 0.16 * (1 - at))
    (alarm,) = raised(lines)
    assert (alarm.name, alarm.stops) == ("falling_reward", True)
    assert "lower learning_rate" in alarm.do


def test_a_reward_that_recovers_or_is_noisy_is_left_alone() -> None:
    """One window must fall, not one step; and 0 switches the watchdog off."""
    rng = random.Random(1)
    assert not names(history(reward=lambda at: 0.3 + rng.gauss(0, 0.1)))
    assert not names(history(reward=lambda at: 0.5 - 0.2 * at))
    assert not names(history(40, reward=lambda at: 0.16 * (1 - at)), Alarms(window=10, stop_below=0.0))


def test_nothing_is_said_before_two_windows_are_full() -> None:
    """There is nothing to compare with."""
    assert not names(history(19, reward=lambda at: 1 - at, completions__mean_length=lambda at: 10 + 1000 * at))


def test_a_history_tells_what_was_said_along_the_way() -> None:
    """An attempt that goes on knows the alarms of the one before, those that are over included."""
    lines = history(60, completions__clipped_ratio=lambda at: 0.9 if 0.4 < at < 0.6 else 0.0)
    assert not names(lines)
    (alarm,) = along(readings(lines), [], LIMITS)
    assert (alarm.name, 24 < alarm.step < 40) == ("truncated", True)


def test_broken_figures_are_no_alarm() -> None:
    """A figure that is missing or no number reads as 0."""
    lines = history(completions__clipped_ratio=lambda at: float("nan"))
    lines[-1]["completions/mean_length"] = None
    assert not names(lines)


def test_the_watchdog_says_an_alarm_once_and_stops(capsys: pytest.CaptureFixture[str]) -> None:
    """As TRL calls it: after every step, with the history so far."""
    from tasks.posttraining.watchdog import Watchdog

    lines = history(60, reward=lambda at: 0.5 if at < 0.5 else 0.02, completions__mean_length=lambda at: 10 + 200 * at)
    said: list[str] = []
    dog, stopped = Watchdog(LIMITS, "exact_answer", 64, said), 0
    with pytest.raises(GateError, match=r"the reward fell from 0\.500"):
        for stopped in range(1, len(lines) + 1):
            state: Any = SimpleNamespace(log_history=lines[:stopped], is_world_process_zero=True)
            dog.on_log(Any, state, Any, logs=lines[stopped - 1])  # type: ignore[arg-type]
    assert 30 < stopped < 45
    assert [line.split(": ")[1] for line in said] == ["length_growth", "falling_reward"]
    taken_up: list[str] = []
    Watchdog(LIMITS, "exact_answer", 64, taken_up).on_train_begin(Any, state, Any)  # type: ignore[arg-type]
    assert taken_up == said
    assert capsys.readouterr().err.count("alarm step") == 2
