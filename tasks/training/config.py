"""The training section of a recipe: the optimizer and the phases, each with its mixture, schedule, length and layout.

Defaults are SmolLM3's (Smol Training Playbook, optimiser, schedule, batch size).
"""

from __future__ import annotations

import re
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from contracts.config import Config, Placement, identity
from models.config import ModelConfig
from models.layout import Layout
from models.precision import Precision

__all__ = ["Job", "OptimizerConfig", "Phase", "Schedule", "TrainingConfig", "workspace_identity"]

SHARE_TOLERANCE = 1e-3
"""How far the shares of a mixture may be from 1 before `normalise: true` must be said."""


class OptimizerConfig(Config):
    """AdamW, or Muon for the hidden matrices with AdamW for the rest. Norms and embeddings carry no weight decay."""

    kind: Literal["adamw", "muon"] = "adamw"
    """adamw; or muon: orthogonalised updates of every hidden matrix, AdamW for embeddings, output layer and norms."""
    weight_decay: float = Field(default=0.1, ge=0)
    """Decoupled weight decay of the hidden matrices."""
    beta1: float = Field(default=0.9, ge=0, lt=1)
    """Decay of AdamW's first moment."""
    beta2: float = Field(default=0.95, ge=0, lt=1)
    """Decay of AdamW's second moment."""
    eps: float = Field(default=1e-8, gt=0)
    """AdamW's epsilon."""
    clip_grad: float = Field(default=1.0, ge=0)
    """Largest norm of the whole gradient; 0: no clipping."""
    muon_momentum: float = Field(default=0.95, ge=0, lt=1)
    """Decay of Muon's (Nesterov) momentum; only read with kind muon."""


class Schedule(Config):
    """Learning rate over the steps of one phase. WSD (warm-up, stable, decay) is a constant phase followed by a decaying one."""

    shape: Literal["constant", "cosine", "linear", "one_minus_sqrt"] = "constant"
    """After the warm-up: constant, or a decay over the rest of the phase (half a cosine, a line, or 1 - sqrt(progress))."""
    learning_rate: float = Field(gt=0)
    """Peak learning rate."""
    warmup_steps: int = Field(default=0, ge=0)
    """Steps of linear warm-up from 0."""
    final_fraction: float = Field(default=0.0, ge=0, le=1)
    """Last learning rate of a decay as a share of the peak."""
    final_learning_rate: float | None = Field(default=None, gt=0)
    """Last learning rate of a decay, in place of final_fraction (0 is written as final_fraction: 0)."""

    @model_validator(mode="before")
    @classmethod
    def _zero_is_zero(cls, data: Any) -> Any:
        """`final_learning_rate: 0` and `final_fraction: 0` are one schedule, and so have one identity."""
        if isinstance(data, dict) and data.get("final_learning_rate") == 0 and not data.get("final_fraction"):
            return {key: value for key, value in data.items() if key != "final_learning_rate"}
        return data

    @model_validator(mode="after")
    def _one_end(self) -> Self:
        if self.shape == "constant" and (self.final_fraction or self.final_learning_rate):
            raise ValueError("a constant schedule has no final learning rate; choose cosine, linear or one_minus_sqrt")
        if self.final_fraction and self.final_learning_rate:
            raise ValueError("give final_fraction or final_learning_rate, not both")
        if self.final_learning_rate and self.final_learning_rate > self.learning_rate:
            raise ValueError(f"final_learning_rate {self.final_learning_rate:g} is above learning_rate {self.learning_rate:g}")
        return self

    @property
    def end(self) -> float:
        """Learning rate at the end of a decay."""
        return self.learning_rate * self.final_fraction if self.final_learning_rate is None else self.final_learning_rate

    @property
    def depends_on_length(self) -> bool:
        """Whether an earlier step's learning rate changes with the number of steps: a longer phase then cannot go on from a shorter one."""
        return self.shape != "constant"


class Phase(Config):
    """One leg of training; an artifact of its own."""

    name: str
    """Short name: the stage is train-NAME."""
    tokens: int = Field(gt=0)
    """Tokens to train on; rounded up to whole steps."""
    mixture: dict[str, float]
    """Source -> share of the tokens. Shares sum to 1."""
    normalise: bool = False
    """Divide the shares by their sum, whatever it is."""
    sequence_length: int = Field(gt=1)
    """Tokens of one sequence."""
    global_batch_size: int = Field(gt=0)
    """Sequences of one step, over all ranks."""
    schedule: Schedule
    """Learning rate over the phase; it starts anew with each phase."""
    precision: Precision = Precision()
    """Number formats."""
    rope_theta: float | None = Field(default=None, gt=0)
    """Base of the rotary embedding in this phase; unset: the model's."""
    seed: int | None = Field(default=None, ge=0)
    """Seed of this phase's order of sequences (of a first phase, of the weights too); unset: the seed of the whole training."""
    reset_optimizer: bool = False
    """Begin with fresh optimizer state, taking only the weights from the phase before (SmolLM3 did so from 32k to 64k tokens)."""
    layout: Placement[Layout] = Layout()
    """How the model is spread over ranks."""
    checkpoint_every: Placement[int] = Field(default=1000, ge=1)
    """Steps between checkpoints; the last step always has one."""
    evaluate_every: Placement[int] = Field(default=1000, ge=1)
    """Steps between evaluations of the held-out loss; the last step always has one."""
    evaluation_sequences: Placement[int] = Field(default=16, ge=1)
    """Held-out sequences per source in one evaluation."""
    log_every: Placement[int] = Field(default=1, ge=1)
    """Steps between points of the logged curves."""
    repeat: Placement[str] = ""
    """Any text: the phase is trained anew under it, though nothing of it has changed (a canary of libraries and hardware)."""

    @field_validator("name")
    @classmethod
    def _plain_name(cls, name: str) -> str:
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,40}", name):
            raise ValueError("use lower-case letters, digits and dashes, starting with a letter or digit")
        return name

    @field_validator("mixture")
    @classmethod
    def _shares(cls, mixture: dict[str, float]) -> dict[str, float]:
        for source, share in mixture.items():
            if not 0 <= share < float("inf"):
                raise ValueError(f"the share of '{source}' is {share}; shares are not negative and finite")
        if not any(mixture.values()):
            raise ValueError("no source has a share above 0")
        return mixture

    @model_validator(mode="after")
    def _agree(self) -> Self:
        total = sum(self.mixture.values())
        if not self.normalise and abs(total - 1.0) > SHARE_TOLERANCE:
            raise ValueError(f"the shares of phase '{self.name}' sum to {total:.6g}, not to 1; correct them, or write `normalise: true`")
        if self.schedule.depends_on_length and self.schedule.warmup_steps >= self.steps:
            raise ValueError(
                f"phase '{self.name}' has {self.steps} steps and warms up for {self.schedule.warmup_steps}: nothing is left to decay"
            )
        return self

    @property
    def tokens_per_step(self) -> int:
        """Tokens of one step over all ranks."""
        return self.global_batch_size * self.sequence_length

    @property
    def steps(self) -> int:
        """Steps of the phase: its tokens in whole global batches, rounded up."""
        return -(-self.tokens // self.tokens_per_step)

    @property
    def shares(self) -> dict[str, float]:
        """Source -> share, summing to 1; sources without a share are left out."""
        total = sum(self.mixture.values())
        return {source: share / total for source, share in self.mixture.items() if share}


class TrainingConfig(Config):
    """Everything between token shards and the last checkpoint."""

    seed: int = Field(default=0, ge=0)
    """Seed of the initial weights and of the order of sequences."""
    optimizer: OptimizerConfig = OptimizerConfig()
    """Optimizer of every phase."""
    phases: list[Phase] = Field(min_length=1)
    """The phases in order; each goes on from the weights, the optimizer state and the data position of the one before."""

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        names = [phase.name for phase in self.phases]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two phases are called '{twice[0]}'; each needs a name of its own")
        if self.phases[0].reset_optimizer:
            raise ValueError(f"phase '{names[0]}' is the first: there is no optimizer state to reset")
        return self


class Job(Config):
    """What a training worker is told about its phase (`config` of its job spec)."""

    model: ModelConfig
    """Architecture."""
    phase: Phase
    """The phase to train."""
    optimizer: OptimizerConfig
    """Its optimizer."""
    seed: int = Field(ge=0)
    """Seed of the initial weights and of the order of sequences."""
    end_when_diverged: bool = False
    """A run that diverges ends well and early, and says so: that is a result of an ablation. Otherwise it asks for a person."""


def workspace_identity(job: Job) -> dict[str, Any]:
    """What a phase's workspace stands for, JSON-ready: the job's identity.

    Without the phase's length where no step before its end depends on it, so that a lengthened phase goes on in the same workspace.
    """
    fields: dict[str, Any] = identity(job)
    if not job.phase.schedule.depends_on_length:
        del fields["phase"]["tokens"]
    return fields
