"""What a plan says, as typed data that goes to JSON: tokens, steps, memory, hours and money of every phase, epochs of every source."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from contracts.config import Config

Level = Literal["note", "warn", "block"]


class Finding(Config):
    """One judgement on a plan. `block` stops a launch, `warn` is said, `note` explains."""

    level: Level
    """How much it weighs."""
    topic: str
    """What it is about: motive, evidence, budget, memory, layout, epochs, target."""
    what: str
    """The finding."""
    do: str = ""
    """What can be done about it."""


class PhasePlan(Config):
    """One leg of training."""

    name: str
    """Name of the phase."""
    tokens: int
    """Tokens it trains on: steps x tokens per batch."""
    steps: int
    """Optimizer steps."""
    last_step: int
    """Steps done since the first phase when it ends."""
    tokens_per_batch: int
    """global_batch_size x sequence_length."""
    sequence_length: int
    """Tokens per sequence."""
    global_batch_size: int
    """Sequences per step."""
    learning_rate: str
    """Peak, shape and end of the schedule."""
    layout: str
    """Parallel layout in words."""
    ranks: int
    """Processes (devices) it runs on."""
    accumulation: int
    """Micro-batches per rank and step."""
    flops: float
    """Model FLOPs of the whole phase."""
    tokens_per_second: float | None = None
    """Tokens per second and device at the assumed utilisation."""
    gpu_hours: float | None = None
    """Device hours at the assumed utilisation; unset where no peak is known."""
    days: float | None = None
    """Days on `ranks` devices."""
    static_bytes: int
    """Weights, gradients and optimizer state of the fullest rank."""
    activation_bytes: int
    """Activations of the fullest rank, estimated."""

    @property
    def bytes_per_rank(self) -> int:
        """Memory of the fullest rank."""
        return self.static_bytes + self.activation_bytes


class SourcePlan(Config):
    """What is read from one source."""

    name: str
    """Name of the source."""
    tokens: dict[str, int] = Field(default_factory=dict)
    """Phase -> tokens read."""
    size: int | None = None
    """Tokens the source has; unset: no size is published."""

    @property
    def total(self) -> int:
        """Tokens read in all phases."""
        return sum(self.tokens.values())

    @property
    def epochs(self) -> float | None:
        """Times the source is read over; None where its size is unknown."""
        return self.total / self.size if self.size else None


class Cost(Config):
    """Hours and money, with what they were computed from."""

    formula: str
    """FLOP convention."""
    peak: str
    """Dense peak of one device, with its source."""
    assumed_mfu: float
    """Share of the peak assumed."""
    gpu_hours: float | None = None
    """Device hours of the main run."""
    days: float | None = None
    """Days of the main run, phase after phase."""
    reserves: dict[str, float] = Field(default_factory=dict)
    """Device hours set aside beside the main run: ablations, contingency, evaluation."""
    money: float | None = None
    """Price of it all; unset where no price is given."""
    currency: str = "EUR"
    """Currency of `money`."""

    @property
    def total_gpu_hours(self) -> float | None:
        """Main run and reserves."""
        return None if self.gpu_hours is None else self.gpu_hours + sum(self.reserves.values())


class TrainingPlan(Config):
    """Everything that can be said before a run."""

    parameters: int
    """Parameters of the model."""
    parameters_by_part: dict[str, int]
    """Where they are."""
    phases: list[PhasePlan]
    """Legs of training in order."""
    sources: list[SourcePlan]
    """Sources in the order of the recipe."""
    cost: Cost
    """Hours and money."""
    findings: list[Finding] = Field(default_factory=list)
    """Judgements."""

    @property
    def tokens(self) -> int:
        """Tokens of all phases."""
        return sum(phase.tokens for phase in self.phases)

    @property
    def flops(self) -> float:
        """Model FLOPs of all phases."""
        return sum(phase.flops for phase in self.phases)

    @property
    def blocked(self) -> list[Finding]:
        """Findings that stop a launch."""
        return [finding for finding in self.findings if finding.level == "block"]
