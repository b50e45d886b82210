"""What a training stage must give to be trained by `tasks.posttraining.session`: a function that prepares a TRL trainer.

The session owns everything around it: inputs, resume, checkpoints, signals, metrics, the finished folder. A stage owns its data, its
loss and what it says about them:

    def prepare(given: Given) -> Prepared: ...

It is called once per attempt, on every rank, with the parent's weights even where training is resumed: the session hands the checkpoint
to `trainer.train`. So it must give the same trainer each time: data in the same order, nothing drawn from a generator that is not seeded
with `step.seed`. Arguments come from `tasks.posttraining.trl_arguments`; checkpoints belong below `given.folder`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from tasks.posttraining.requests import StepRequest
from tasks.posttraining.trl_arguments import Ground


@dataclass(frozen=True)
class Given:
    """What a stage is prepared from."""

    request: StepRequest
    """Template and step."""
    inputs: Mapping[str, Path]
    """Local read-only folders by role."""
    folder: Path
    """TRL's `output_dir`, empty."""
    ground: Ground
    """Device and ranks."""


@dataclass
class Prepared:
    """A trainer that is ready for its first step."""

    trainer: Any
    """A `transformers.Trainer` with the parent's model in float32; callbacks of the stage are on it already."""
    tokenizer: Any
    """With the template on it; saved with the model."""
    counts: dict[str, int] = field(default_factory=dict)
    """Examples, tokens... for the manifest."""
    evidence: dict[str, Any] = field(default_factory=dict)
    """JSON for gates and report. Callbacks may add to it while training runs; a resumed attempt begins with what `prepare` put there."""
    notes: list[str] = field(default_factory=list)
    """Interventions for the manifest: warnings, and what a callback did (it may end training by `control.should_training_stop`)."""
    measure: Callable[[], Mapping[str, float]] = dict
    """Called once training is over, on every rank, with the trained weights in the trainer: metrics of the finished model."""


class Prepare(Protocol):
    """The function that a stage gives."""

    def __call__(self, given: Given) -> Prepared:
        """Prepare a trainer.

        Raises:
            SmolflowError: data, template or settings that cannot be trained on.
        """
