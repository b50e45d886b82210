"""The callback that asks for alarms while TRL trains. Only workers import it."""

from __future__ import annotations

import sys
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from contracts.errors import GateError
from tasks.posttraining.alarms import Alarm, alarms, along, heldout, readings
from tasks.posttraining.config import Alarms


class Watchdog(TrainerCallback):
    """Says each alarm once, and ends training where one asks for it.

    It reads the trainer's own history, which checkpoints carry: a resumed training sees what an uninterrupted one sees.

    Args:
        limits: when to warn and when to stop.
        truth: the component that says whether an answer is right.
        prompts: held-out prompts; 0: none are measured.
        said: where alarms go, for the manifest.
    """

    def __init__(self, limits: Alarms, truth: str, prompts: int, said: list[str]) -> None:
        self._limits, self._truth, self._prompts, self._said = limits, truth, prompts, said
        self.raised: dict[str, Alarm] = {}

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Take up what an earlier attempt was told."""
        for alarm in along(readings(state.log_history), heldout(state.log_history, self._truth, self._prompts), self._limits):
            self._note(alarm)

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Any = None, **kwargs: Any) -> None:
        """A step was logged.

        Raises:
            GateError: training must not go on; what was saved is kept, and changed alarms let it go on from there.
        """
        if not logs or "reward" not in logs:
            return
        history = state.log_history
        for alarm in alarms(readings(history), heldout(history, self._truth, self._prompts), self._limits):
            if alarm.name not in self.raised:
                self._note(alarm)
                if state.is_world_process_zero:
                    print(f"alarm {self._said[-1]}\n  What to do: {alarm.do}", file=sys.stderr, flush=True)
            if alarm.stops:
                raise GateError(alarm.what, where=f"step {alarm.step}", do=alarm.do)

    def _note(self, alarm: Alarm) -> None:
        self.raised[alarm.name] = alarm
        self._said.append(f"step {alarm.step}: {alarm.name}: {alarm.what}")
