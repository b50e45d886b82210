"""Arguments of TRL's trainers as plain data: the same step on a CPU and on GPUs, tested without either.

TRL 1.16 defaults to bfloat16 and recomputed activations even on a CPU, and logs every tenth step: all three are always said here.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from contracts.errors import ConfigError, ResourceError
from tasks.posttraining.config import PostPlacement, PreferenceConfig, Schedule, SftConfig
from tasks.posttraining.packing import STRATEGIES

Arguments = dict[str, Any]

FSDP_DEFAULTS = {"version": 2, "auto_wrap_policy": "TRANSFORMER_BASED_WRAP", "state_dict_type": "FULL_STATE_DICT"}
"""As in TRL's own fsdp2.yaml; a full state dict is what a single process can read back."""


class Ground(NamedTuple):
    """What a step runs on."""

    device: str = "cpu"
    """`cpu` or `cuda`."""
    world_size: int = 1
    """Ranks, each with its device."""
    deepspeed: bool = False
    """Whether DeepSpeed is installed."""
    liger: bool = False
    """Whether Liger's kernels are installed."""

    @classmethod
    def here(cls) -> Ground:
        """This process and its peers, by the environment that torchrun gives."""
        import torch

        device = "cuda" if torch.cuda.is_available() else "cpu"
        installed = [find_spec(name) is not None for name in ("deepspeed", "liger_kernel")]
        return cls(device, int(os.environ.get("WORLD_SIZE", "1")), *installed)

    def backend(self, placement: PostPlacement) -> str:
        """What spreads the model: `plain` (one process, or copies of it), `deepspeed` or `fsdp`; checkpoints differ between them."""
        if self.device == "cpu" or placement.sharding == "none":
            return "plain"
        return "deepspeed" if self.deepspeed else "fsdp"


def accumulation(batch: int, placement: PostPlacement, ground: Ground) -> int:
    """Micro batches that a rank adds up to one step.

    Args:
        batch: sequences per step, over all ranks.

    Raises:
        ConfigError: the batch is no multiple of what all ranks take at once.
    """
    at_once = placement.micro_batch_size * ground.world_size
    if batch % at_once:
        raise ConfigError(
            f"global_batch_size {batch} is no multiple of {placement.micro_batch_size} sequences on {ground.world_size} rank(s)",
            where="placement.micro_batch_size", do="choose a micro batch that divides the batch of one rank",
        )  # fmt: skip
    return batch // at_once


def common(placement: PostPlacement, ground: Ground, folder: Path, seed: int) -> Arguments:
    """What every TRL trainer is told: precision, memory, checkpoints, logging; never anything that leaves this machine.

    Raises:
        ResourceError: sharding that needs DeepSpeed, or Liger's kernels, where they are not installed.
    """
    on_gpu = ground.device == "cuda"
    if placement.liger_kernels and on_gpu and not ground.liger:
        raise ResourceError(
            "Liger's kernels are not installed", do="pip install liger-kernel, or set liger_kernels: false", where="placement"
        )
    return {
        "output_dir": str(folder),
        "seed": seed,
        "data_seed": seed,
        "use_cpu": not on_gpu,
        "bf16": on_gpu,  # autocast: weights and optimizer state stay float32
        "tf32": True if on_gpu else None,
        "activation_checkpointing": placement.gradient_checkpointing,
        "use_liger_kernel": placement.liger_kernels and on_gpu,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,  # a loss that is no number is said, not averaged away
        "save_strategy": "steps",
        "save_steps": placement.checkpoint_every,
        "save_total_limit": None,  # the session removes what the store has confirmed
        "report_to": [],
        "push_to_hub": False,
        "disable_tqdm": True,
        "ddp_find_unused_parameters": False if ground.world_size > 1 else None,
        **sharding(placement, ground),
    }


def sharding(placement: PostPlacement, ground: Ground) -> Arguments:
    """DeepSpeed's configuration, or FSDP's where DeepSpeed is not installed; nothing on a CPU.

    DeepSpeed keeps float32 masters of bfloat16 weights by itself. FSDP has no counterpart of ZeRO-1.

    Raises:
        ResourceError: zero1 without DeepSpeed.
    """
    backend = ground.backend(placement)
    if backend == "plain":
        return {}
    stage = int(placement.sharding[-1])
    if backend == "fsdp":
        if stage == 1:
            raise ResourceError(
                "sharding zero1 needs DeepSpeed", do="pip install deepspeed, or take zero2 or zero3", where="placement.sharding"
            )
        return {"fsdp": True, "fsdp_config": {**FSDP_DEFAULTS, "reshard_after_forward": stage == 3}}
    zero: Arguments = {"stage": stage, "overlap_comm": True, "contiguous_gradients": True}
    if stage == 3:
        zero["stage3_gather_16bit_weights_on_model_save"] = True
    auto = ("gradient_accumulation_steps", "gradient_clipping", "train_batch_size", "train_micro_batch_size_per_gpu")
    return {"deepspeed": {"zero_optimization": zero, "bf16": {"enabled": "auto"}, **dict.fromkeys(auto, "auto")}}


def cosine(schedule: Schedule) -> Arguments:
    """Linear warm-up by share of the steps, then a cosine to `final_ratio` of the peak."""
    return {
        "learning_rate": schedule.learning_rate,
        "lr_scheduler_type": "cosine_with_min_lr",
        "lr_scheduler_kwargs": {"min_lr_rate": schedule.final_ratio},
        "warmup_steps": schedule.warmup_ratio,  # below 1 it is a share
    }


def sft(step: SftConfig, ground: Ground, folder: Path) -> Arguments:
    """Arguments of `trl.SFTConfig`; rows come with `input_ids` and `labels`, so TRL makes no mask of its own.

    Raises:
        ConfigError, ResourceError: as `accumulation` and `common` say.
    """
    packed = step.packing != "none"
    return {
        **common(step.placement, ground, folder, step.seed),
        **cosine(step.schedule),
        "num_train_epochs": step.epochs,
        "per_device_train_batch_size": step.placement.micro_batch_size,
        "gradient_accumulation_steps": accumulation(step.global_batch_size, step.placement, ground),
        "max_length": step.max_length if packed else None,  # rows come cut
        "packing": packed,
        **({"packing_strategy": STRATEGIES[step.packing]} if packed else {}),
        "shuffle_dataset": packed,  # else the sampler shuffles, anew for each epoch
        "max_grad_norm": step.clip_grad,
        "weight_decay": step.weight_decay,
        "adam_beta2": step.adam_beta2,
    }


def preference(step: PreferenceConfig, ground: Ground, folder: Path) -> Arguments:
    """Arguments of `trl.DPOConfig`, `trl.KTOConfig` or `trl.experimental.orpo.ORPOConfig`, as the loss asks for.

    KTO reads single answers, two of which are one pair here; ORPO's lambda is called beta.

    Raises:
        ConfigError, ResourceError: as `accumulation` and `common` say.
    """
    rows = 2 if step.loss == "kto" else 1
    found = {
        **common(step.placement, ground, folder, step.seed),
        **cosine(step.schedule),
        "num_train_epochs": step.epochs,
        "per_device_train_batch_size": step.placement.micro_batch_size * rows,
        "per_device_eval_batch_size": step.placement.micro_batch_size * rows,
        "gradient_accumulation_steps": accumulation(step.global_batch_size, step.placement, ground),
        "max_length": step.max_length,
        "max_grad_norm": step.clip_grad,
        "adam_beta2": step.adam_beta2,
        "beta": step.beta,
    }
    if step.loss == "kto":
        return {**found, "loss_type": "kto"}
    if step.loss == "orpo":
        return found
    likelihood = step.sft_weight > 0
    return {
        **found,
        "loss_type": [step.loss, "sft"] if likelihood else [step.loss],
        "loss_weights": [1.0, step.sft_weight] if likelihood else None,
    }
