"""TRL's distillation trainer with exact resume, prompts as tokens, and a share of the batches in other words than the student's.

What is overridden is private in TRL 1.16.0, which is pinned: the sampler, reading prompts, generating. Only workers import this module.
"""

from __future__ import annotations

from typing import Any

import torch
from trl import DistillationTrainer

from tasks.posttraining.rollouts import EPOCHS, EpochSampler, Rollouts

ON_POLICY = "on_policy"
"""Logged: 1 where the student wrote the answers of a step, 0 where they are the data's."""


class Distilled(Rollouts, DistillationTrainer):  # type: ignore[misc]
    """On-policy distillation over rows of `prompt` and `reply`, both lists of tokens.

    TRL renders prompts itself, with one set of template arguments for all; as tokens each keeps its own mode. Its sampler begins again with
    the first epoch after a resume, as GRPO's does (see `EpochSampler`).

    Args:
        lmbda: share of the steps whose answers the student writes itself (lambda of Agarwal et al., 2306.13649); the others take `reply`.
    """

    args: Any

    def __init__(self, *args: Any, lmbda: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lmbda = lmbda
        self._replies: list[list[int]] = []

    def _get_train_sampler(self, dataset: Any = None) -> Any:
        data: Any = self.train_dataset if dataset is None else dataset
        micro, ranks, added = self.args.per_device_train_batch_size, self.accelerator.num_processes, self.args.gradient_accumulation_steps
        return EpochSampler(
            data_source=data,
            mini_repeat_count=1,
            batch_size=micro * ranks * added,
            repeat_count=added,
            shuffle=bool(self.shuffle_dataset),
            seed=self.args.seed,
        )

    def _tokenize_prompts(self, prompts: list[list[int]]) -> Any:
        return prompts, None, {}

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> Any:
        self._replies = [list(one["reply"]) for one in inputs]
        return super()._generate_and_score_completions(inputs)

    def _generate_single_turn(self, prompt_ids: Any, images: Any, multimodal_fields: Any, has_tool_images: bool = False) -> Any:
        own = self._own_words(int(self.state.global_step))
        self._metrics["train"][ON_POLICY].append(float(own))
        return super()._generate_single_turn(prompt_ids, images, multimodal_fields, has_tool_images) if own else self._replies

    def _own_words(self, step: int) -> bool:
        """Drawn for a step by seed and step alone: every rank, and every attempt, comes to the same."""
        drawn = torch.rand(1, generator=torch.Generator().manual_seed(int(self.args.seed) * EPOCHS + step))
        return bool(drawn.item() < self._lmbda)
