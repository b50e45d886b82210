"""What a phase consumed and cost, and what went wrong in it; kept in every checkpoint, so that it survives each attempt."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field

from contracts.config import Config
from contracts.errors import InputError
from models.layout import Layout
from tasks.training.divergence import LossWatch
from tasks.training.order import Place

Activity = Literal["productive", "evaluating", "checkpointing", "restarting", "waiting"]
STATE_FILE = "state.json"


class Incident(Config):
    """Something that went wrong."""

    symptom: str
    """What was seen."""
    step: int
    """Step of the phase at which it was seen."""
    evidence: dict[str, Any] = Field(default_factory=dict)
    """Figures and messages."""
    action: str
    """What was done about it."""
    when: str = ""
    """UTC."""

    @classmethod
    def now(cls, symptom: str, step: int, action: str, **evidence: Any) -> Self:
        """An incident that is seen now."""
        return cls(symptom=symptom, step=step, evidence=evidence, action=action, when=datetime.now(UTC).isoformat(timespec="seconds"))

    def __str__(self) -> str:
        return f"step {self.step}: {self.symptom}; {self.action}"


class Leg(Config):
    """One attempt: at which layout, from which step to which."""

    layout: Layout
    """How the model was spread."""
    first_step: int
    """First step it trained."""
    last_step: int
    """Last step it trained."""
    device: str
    """What its ranks ran on."""


class State(Config):
    """state.json of a checkpoint: where the data stands and what it has cost so far."""

    step: int
    """Steps of the phase that are behind."""
    counts: dict[str, int]
    """Sequences of each source read in this phase."""
    places: dict[str, dict[str, int]]
    """Where each source stands: pass, window, and the stream it belongs to. Sources of earlier phases stay listed."""
    phase_tokens: dict[str, int]
    """Tokens of each source read in this phase."""
    total_tokens: dict[str, int]
    """Tokens of each source read in this phase and all before it."""
    seconds: dict[str, float]
    """Wall seconds of this phase: productive, evaluating, checkpointing, restarting (start-up of every attempt), waiting (for uploads)."""
    incidents: list[Incident] = Field(default_factory=list)
    """What went wrong in this phase."""
    legs: list[Leg] = Field(default_factory=list)
    """Attempts of this phase."""
    initial_loss: float | None = None
    """Loss of the first step of the first phase, in nats per token."""
    recent_losses: list[float] = Field(default_factory=list)
    """Losses of the last steps of this phase, in nats per token."""
    diverged_at: int | None = None
    """Step at which the phase ended early because it diverged."""

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The state kept beside a checkpoint.

        Raises:
            InputError: it is missing or damaged.
        """
        path = folder / STATE_FILE
        try:
            return cls.model_validate(json.loads(path.read_text()))
        except (OSError, ValueError) as error:
            raise InputError(f"state.json cannot be read: {error}", where=str(path), do="use another checkpoint") from None

    def write(self, folder: Path) -> None:
        """Write it beside a checkpoint."""
        (folder / STATE_FILE).write_text(json.dumps(self.model_dump(mode="json"), indent=1))

    def place_of(self) -> dict[str, Place]:
        """Where each source stands."""
        return {source: Place(**place) for source, place in self.places.items()}


class Ledger:
    """The running account of one attempt, on top of what the phase (`before`) and the phases before it (`parent`) have cost."""

    def __init__(self, layout: Layout, device: str, before: State | None, parent: State | None) -> None:
        self.incidents: list[Incident] = list(before.incidents) if before else []
        self._legs = list(before.legs) if before else []
        self._first = before.step + 1 if before else 1
        self._layout, self._device = layout, device
        self._seconds = dict(before.seconds) if before else {}
        self._parent_places = dict(parent.places) if parent else {}
        self._parent_tokens = dict(parent.total_tokens) if parent else {}

    def add(self, activity: Activity, seconds: float) -> None:
        """Book `seconds` on `activity`."""
        self._seconds[activity] = self._seconds.get(activity, 0.0) + seconds

    @contextmanager
    def timed(self, activity: Activity) -> Iterator[None]:
        """Book what happens inside on `activity`."""
        began = time.perf_counter()
        yield
        self.add(activity, time.perf_counter() - began)

    def state(
        self, step: int, counts: dict[str, int], places: dict[str, Place], sequence_length: int, losses: LossWatch, diverged: bool
    ) -> State:
        """The account at the end of `step`, which is the last one where the phase has `diverged`."""
        tokens = {source: count * sequence_length for source, count in counts.items()}
        total = dict(self._parent_tokens)
        for source, number in tokens.items():
            total[source] = total.get(source, 0) + number
        leg = Leg(layout=self._layout, first_step=self._first, last_step=step, device=self._device)
        return State(
            step=step,
            counts=counts,
            places=self._parent_places | {source: asdict(place) for source, place in places.items()},
            phase_tokens=tokens,
            total_tokens=total,
            seconds={activity: round(seconds, 3) for activity, seconds in self._seconds.items()},
            incidents=self.incidents,
            legs=[*self._legs, leg] if step >= self._first else self._legs,
            initial_loss=losses.initial,
            recent_losses=losses.recent,
            diverged_at=step if diverged else None,
        )
