"""TRL's GRPO trainer with exact resume, the figures that alarms read, and the time of a step split into generate, score and train.

What is overridden is private in TRL 1.16.0, which is pinned: the sampler, scoring, evaluating. Only workers import this module.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from trl import GRPOTrainer
from trl.trainer.utils import RepeatSampler

from tasks.posttraining.alarms import DEAD, PUNISHED, REFLECTIVE
from tasks.posttraining.rewards.registry import OVERLONG
from tasks.posttraining.rollouts import EpochSampler, Rollouts
from tasks.posttraining.verifiers import reflections


class Reinforced(Rollouts, GRPOTrainer):  # type: ignore[misc]
    """GRPO whose resume is exact and whose history says what its rewards hide.

    Beside TRL's figures it logs `dead_groups`, `reflective`, `overlong/punished_correct` (see `alarms`) and, in seconds of a step,
    `seconds/generate`, `seconds/score` and `seconds/train`.

    Args:
        truth: name of the reward that says whether an answer is right.
    """

    parts: ClassVar = ("generate", "score")
    args: Any
    num_generations: Any

    def __init__(self, *args: Any, truth: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._truth = self.reward_func_names.index(truth)
        self._penalty = self.reward_func_names.index(OVERLONG) if OVERLONG in self.reward_func_names else None

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
