"""What TRL's trainers that write their own answers lack for an exact resume and honest books; reinforcement and distillation share it.

What is overridden is private in TRL 1.16.0, which is pinned. Only workers import this module.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from trl.trainer.utils import RepeatSampler

EPOCHS = 1_000_003
"""Prime that spreads (seed, epoch) over the generator's seeds."""


class EpochSampler(RepeatSampler):  # type: ignore[misc]
    """Prompts in an order that depends on seed and epoch alone.

    TRL's own sampler draws every epoch from one generator: a process that resumes in the third epoch would see the order of the first.
    """

    epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the data loader before each epoch, and after a resume."""
        self.epoch = int(epoch)

    def __iter__(self) -> Iterator[int]:
        """Indices of one epoch, each repeated for its group and for every update."""
        if self.shuffle:
            self.generator = torch.Generator()
            self.generator.manual_seed((self.seed or 0) * EPOCHS + self.epoch)
        return iter(super().__iter__())


class Rollouts:
    """Before a TRL trainer that generates: tokens of this process alone, and the time of a step, split.

    It logs, in seconds of a step, `seconds/NAME` for each of `parts`, and `seconds/train` for what is none of them.
    """

    parts: ClassVar[tuple[str, ...]] = ("generate",)
    state: Any
    model: Any
    _metrics: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._seen_before: int | None = None
        self.spent = dict.fromkeys(self.parts, 0.0)
        trainer: Any = self
        trainer.add_callback(_Split(self))

    def _generate(self, prompts: list[Any]) -> Any:
        if self._seen_before is None:
            self._seen_before = int(self.state.num_input_tokens_seen)
        began = time.perf_counter()
        made = super()._generate(prompts)  # type: ignore[misc]
        self._spend("generate", began)
        if self.model.training:  # of this process, as TRL's other trainers count: the session adds what came before
            self._metrics["train"]["num_tokens"] = [self.state.num_input_tokens_seen - self._seen_before]
        return made

    def _spend(self, on: str, began: float) -> None:
        if self.model.training:
            self.spent[on] += time.perf_counter() - began


class _Split(TrainerCallback):
    """The time of a step, split; what is none of the parts is training, the optimizer's share included."""

    def __init__(self, trainer: Rollouts) -> None:
        self._trainer, self._began = trainer, 0.0

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """A step begins."""
        self._began = time.perf_counter()
        self._trainer.spent.update(dict.fromkeys(self._trainer.spent, 0.0))

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """A step is over."""
        spent, whole = dict(self._trainer.spent), time.perf_counter() - self._began
        for name, seconds in {**spent, "train": whole - sum(spent.values())}.items():
            self._trainer._metrics["train"][f"seconds/{name}"].append(seconds)
