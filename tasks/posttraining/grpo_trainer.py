"""TRL's GRPO trainer with exact resume, the figures that alarms read, and the time of a step split into generate, score and train.

What is overridden is private in TRL 1.16.0, which is pinned: the sampler, generating, scoring, evaluating. Only workers import this module.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from trl import GRPOTrainer
from trl.trainer.utils import RepeatSampler

from tasks.posttraining.alarms import DEAD, PUNISHED, REFLECTIVE
from tasks.posttraining.rewards.registry import OVERLONG
from tasks.posttraining.verifiers import reflections

_EPOCHS = 1_000_003
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
            self.generator.manual_seed((self.seed or 0) * _EPOCHS + self.epoch)
        return iter(super().__iter__())


class Reinforced(GRPOTrainer):  # type: ignore[misc]
    """GRPO whose resume is exact and whose history says what its rewards hide.

    Beside TRL's figures it logs `dead_groups`, `reflective`, `overlong/punished_correct` (see `alarms`) and, in seconds of a step,
    `seconds/generate`, `seconds/score` and `seconds/train`.

    Args:
        truth: name of the reward that says whether an answer is right.
    """

    args: Any
    model: Any
    num_generations: Any

    def __init__(self, *args: Any, truth: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._truth = self.reward_func_names.index(truth)
        self._penalty = self.reward_func_names.index(OVERLONG) if OVERLONG in self.reward_func_names else None
        self._seen_before: int | None = None
        self.spent = {"generate": 0.0, "score": 0.0}
        self.add_callback(_Split(self))

    @property
    def rollout_steps(self) -> int:
        """Updates on one batch of answers; a checkpoint between them could not be resumed exactly."""
        return max(1, int(self.num_iterations * self.args.steps_per_generation // self.args.gradient_accumulation_steps))

    def _get_train_sampler(self, dataset: Any = None) -> Any:
        data: Any = self.train_dataset if dataset is None else dataset
        return EpochSampler(
            data_source=data,
            mini_repeat_count=self.num_generations,
            batch_size=self.args.generation_batch_size // self.num_generations,
            repeat_count=self.num_iterations * self.args.steps_per_generation,
            shuffle=bool(self.shuffle_dataset),
            seed=self.args.seed,
        )

    def _get_eval_sampler(self, eval_dataset: Any) -> Any:
        return RepeatSampler(data_source=eval_dataset, mini_repeat_count=self.num_generations_eval or 1, shuffle=False)

    def _generate(self, prompts: list[Any]) -> Any:
        if self._seen_before is None:
            self._seen_before = int(self.state.num_input_tokens_seen)
        began = time.perf_counter()
        made = super()._generate(prompts)
        self._spend("generate", began)
        if self.model.training:  # of this process, as TRL's other trainers count: the session adds what came before
            self._metrics["train"]["num_tokens"] = [self.state.num_input_tokens_seen - self._seen_before]
        return made

    def _calculate_rewards(self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any) -> Any:
        began = time.perf_counter()
        rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        if self.model.training:
            self._note(rewards, completions)
        self._spend("score", began)
        return rewards

    def _note(self, rewards: torch.Tensor, completions: Sequence[Any]) -> None:
        """Figures of one batch; `rewards` is [answers of all ranks, components]."""
        figures, right = self._metrics["train"], rewards[:, self._truth]
        groups = right.view(-1, self.num_generations)
        figures[DEAD].append((groups.amax(1) == groups.amin(1)).float().mean().item())
        mine = [float(reflections(one if isinstance(one, str) else str(one[-1].get("content"))) > 0) for one in completions]
        shares = self.accelerator.gather(torch.tensor(mine, device=rewards.device))
        figures[REFLECTIVE].append(shares.mean().item())
        if self._penalty is not None:
            correct = right >= 1
            touched = (correct & (rewards[:, self._penalty] < 0)).sum() / correct.sum().clamp(min=1)
            figures[PUNISHED].append(touched.item())

    def _spend(self, on: str, began: float) -> None:
        if self.model.training:
            self.spent[on] += time.perf_counter() - began

    def _get_per_token_logps_and_entropies(self, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("batch_size"):  # held-out answers are generated many at once; their logits would not fit
            kwargs["batch_size"] = min(kwargs["batch_size"], self.args.per_device_train_batch_size)
        return super()._get_per_token_logps_and_entropies(*args, **kwargs)

    def prediction_step(self, model: Any, inputs: Any, prediction_loss_only: bool, ignore_keys: list[str] | None = None) -> Any:
        """Answer held-out prompts and score them; their loss says nothing."""
        self._prepare_inputs(inputs)
        return None, None, None

    def _evaluate(self, trial: Any, ignore_keys_for_eval: list[str] | None, skip_scheduler: bool = False) -> dict[str, float]:
        if skip_scheduler and self.state.global_step:  # the measurement at the start, of a training that goes on
            return {}
        return dict(super()._evaluate(trial, ignore_keys_for_eval, skip_scheduler))

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Measure on held-out prompts, without a trace in the random state that training goes on from."""
        with torch.random.fork_rng():
            torch.manual_seed(self.args.seed + self.state.global_step)
            return dict(super().evaluate(*args, **kwargs))


class _Split(TrainerCallback):
    """The time of a step, split; what is neither generating nor scoring is training, the optimizer's part included."""

    def __init__(self, trainer: Reinforced) -> None:
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
