"""Arguments of `trl.DistillationConfig` as plain data. Nothing here imports torch, so GPU paths are tested anywhere."""

from __future__ import annotations

from pathlib import Path

from tasks.posttraining.config import DistillationConfig
from tasks.posttraining.grpo_arguments import generation
from tasks.posttraining.trl_arguments import Arguments, Ground, accumulation, common, cosine


def distillation(step: DistillationConfig, ground: Ground, folder: Path, context: int) -> Arguments:
    """Arguments of `trl.DistillationConfig` (1.16), whose beta is 0 for forward KL, 0.5 for Jensen-Shannon and 1 for reverse KL.

    Args:
        context: tokens that both models can see.

    Raises:
        ConfigError: a batch that ranks cannot share, a vLLM server without its URL.
        ResourceError: vLLM, DeepSpeed or Liger's kernels where they are asked for and not installed.
    """
    return {
        **common(step.placement, ground, folder, step.seed),
        **cosine(step.schedule),
        "max_steps": step.steps,
        "per_device_train_batch_size": step.placement.micro_batch_size,
        "gradient_accumulation_steps": accumulation(step.global_batch_size, step.placement, ground),
        "max_grad_norm": step.clip_grad,
        "adam_beta2": step.adam_beta2,
        "max_completion_length": step.max_answer_tokens,
        "temperature": step.temperature,  # of sampling, and of both distributions in the loss
        "top_p": 1.0,
        "top_k": 0,
        "beta": step.beta,
        "use_liger_kernel": False,  # TRL's own loss never holds the logits in full, and reads the heads itself
        **generation(step, ground, context),
    }
