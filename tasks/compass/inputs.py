"""What the planner reads, as protocols: the compass is the lowest craft and imports no other craft's configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from models.config import ModelConfig
from models.layout import Layout
from models.precision import Precision
from tasks.compass.config import Purpose


class ScheduleLike(Protocol):
    """A learning-rate schedule."""

    @property
    def shape(self) -> str: ...
    @property
    def learning_rate(self) -> float: ...
    @property
    def warmup_steps(self) -> int: ...
    @property
    def end(self) -> float: ...


class PhaseLike(Protocol):
    """One leg of training."""

    @property
    def name(self) -> str: ...
    @property
    def steps(self) -> int: ...
    @property
    def mixture(self) -> Mapping[str, float]: ...
    @property
    def sequence_length(self) -> int: ...
    @property
    def global_batch_size(self) -> int: ...
    @property
    def schedule(self) -> ScheduleLike: ...
    @property
    def precision(self) -> Precision: ...
    @property
    def layout(self) -> Layout: ...


class OptimizerLike(Protocol):
    """The optimizer of every phase."""

    @property
    def kind(self) -> str: ...


class TrainingLike(Protocol):
    """The training section."""

    @property
    def phases(self) -> Sequence[PhaseLike]: ...
    @property
    def optimizer(self) -> OptimizerLike: ...


class SourceLike(Protocol):
    """One source of text."""

    @property
    def name(self) -> str: ...
    @property
    def published_tokens(self) -> int | None: ...


class DataLike(Protocol):
    """The data section."""

    @property
    def sources(self) -> Sequence[SourceLike]: ...


class RecipeLike(Protocol):
    """The parts of a recipe that a plan is made from."""

    @property
    def purpose(self) -> Purpose: ...
    @property
    def model(self) -> ModelConfig: ...
    @property
    def data(self) -> DataLike: ...
    @property
    def training(self) -> TrainingLike: ...
