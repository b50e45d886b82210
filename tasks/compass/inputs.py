"""What the planner reads, as protocols: the compass is the lowest craft and imports no other craft's configuration."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Protocol

from models.config import ModelConfig
from models.layout import Layout
from models.precision import Precision
from tasks.compass.config import Purpose


class ScheduleLike(Protocol):
    """A learning-rate schedule."""

    @property
    @abstractmethod
    def shape(self) -> str: ...
    @property
    @abstractmethod
    def learning_rate(self) -> float: ...
    @property
    @abstractmethod
    def warmup_steps(self) -> int: ...
    @property
    @abstractmethod
    def end(self) -> float: ...


class PhaseLike(Protocol):
    """One leg of training."""

    @property
    @abstractmethod
    def name(self) -> str: ...
    @property
    @abstractmethod
    def steps(self) -> int: ...
    @property
    @abstractmethod
    def mixture(self) -> Mapping[str, float]: ...
    @property
    @abstractmethod
    def sequence_length(self) -> int: ...
    @property
    @abstractmethod
    def global_batch_size(self) -> int: ...
    @property
    @abstractmethod
    def schedule(self) -> ScheduleLike: ...
    @property
    @abstractmethod
    def precision(self) -> Precision: ...
    @property
    @abstractmethod
    def layout(self) -> Layout: ...


class OptimizerLike(Protocol):
    """The optimizer of every phase."""

    @property
    @abstractmethod
    def kind(self) -> str: ...


class TrainingLike(Protocol):
    """The training section."""

    @property
    @abstractmethod
    def phases(self) -> Sequence[PhaseLike]: ...
    @property
    @abstractmethod
    def optimizer(self) -> OptimizerLike: ...


class SourceLike(Protocol):
    """One source of text."""

    @property
    @abstractmethod
    def name(self) -> str: ...
    @property
    @abstractmethod
    def published_tokens(self) -> int | None: ...


class DataLike(Protocol):
    """The data section."""

    @property
    @abstractmethod
    def sources(self) -> Sequence[SourceLike]: ...


class RecipeLike(Protocol):
    """The parts of a recipe that a plan is made from."""

    @property
    @abstractmethod
    def purpose(self) -> Purpose: ...
    @property
    @abstractmethod
    def model(self) -> ModelConfig: ...
    @property
    @abstractmethod
    def data(self) -> DataLike: ...
    @property
    @abstractmethod
    def training(self) -> TrainingLike: ...
