"""Arguments of `trl.GRPOConfig` as plain data. Nothing here imports torch, so GPU paths are tested anywhere."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from contracts.errors import ConfigError, ResourceError
from tasks.posttraining.config import DistillationConfig, ReinforcementConfig
from tasks.posttraining.trl_arguments import Ground, accumulation, common

Arguments = dict[str, Any]
Engine = Literal["plain", "colocate", "server"]


def grpo(step: ReinforcementConfig, ground: Ground, folder: Path, weights: list[float], context: int, heldout: int) -> Arguments:
    """Arguments of `trl.GRPOConfig` (1.16): DAPO's loss averages over the batch's tokens and leaves out answers that were cut, Dr. GRPO
    divides by a constant and its advantages by nothing.

    Args:
        weights: of the rewards, in their order.
        context: tokens that the model can see.
        heldout: prompts kept back; they are answered once every `alarms.window` steps.

    Raises:
        ConfigError: a batch that ranks cannot share, a save interval that cuts a rollout.
        ResourceError: vLLM, DeepSpeed or Liger's kernels where they are asked for and not installed.
    """
    require_whole_rollouts(step)
    micro = step.placement.micro_batch_size
    return {
        **common(step.placement, ground, folder, step.seed),
        "max_steps": step.steps,
        "per_device_train_batch_size": micro,
        "gradient_accumulation_steps": accumulation(step.global_batch_size, step.placement, ground),
        "learning_rate": step.learning_rate,
        "lr_scheduler_type": "constant_with_warmup",
        "warmup_steps": step.warmup_steps,
        "max_grad_norm": step.clip_grad,
        "adam_beta2": step.adam_beta2,
        "num_generations": step.group_size,
        "num_iterations": step.iterations,
        "max_completion_length": step.max_answer_tokens,
        "temperature": step.temperature,
        "top_p": 1.0,
        "top_k": 0,
        "beta": step.kl_coefficient,
        "epsilon": step.epsilon,
        "epsilon_high": step.epsilon_high,
        "loss_type": step.loss,
        "scale_rewards": "none" if step.loss == "dr_grpo" else step.scale_rewards,
        "mask_truncated_completions": step.loss == "dapo",
        "reward_weights": weights,
        **_evaluation(step, ground, heldout),
        **generation(step, ground, context),
    }


def require_whole_rollouts(step: ReinforcementConfig) -> None:
    """Refuse checkpoints between two updates on the same answers: TRL does not save answers, so a resume would go elsewhere.

    Raises:
        ConfigError: `checkpoint_every` is no multiple of `iterations`.
    """
    every = step.placement.checkpoint_every
    if every % step.iterations:
        raise ConfigError(
            f"checkpoint_every {every} is no multiple of {step.iterations}, the updates per batch of answers: a checkpoint would cut a "
            "rollout, which is not saved with it, and a resume would not be exact",
            where=f"reinforcement-{step.name}.placement.checkpoint_every", do=f"take {max(1, every // step.iterations) * step.iterations}",
        )  # fmt: skip


def engine(step: ReinforcementConfig | DistillationConfig, ground: Ground, vllm: bool | None = None) -> Engine:
    """What writes the answers: `plain` generation, vLLM beside the trainer on the same devices (`colocate`), or a vLLM `server`.

    Args:
        vllm: whether vLLM is installed; None: look.

    Raises:
        ResourceError: vLLM is asked for and not there, or there is no device for it.
    """
    asked = step.placement.generation
    installed = find_spec("vllm") is not None if vllm is None else vllm
    if asked == "auto":
        return "colocate" if ground.device == "cuda" and installed else "plain"
    if asked == "plain":
        return "plain"
    if ground.device != "cuda" or not installed:
        said = "vLLM is not installed" if ground.device == "cuda" else "vLLM needs a CUDA device"
        raise ResourceError(
            said, where="placement.generation", do="pip install 'trl[vllm]' on a machine with a GPU, or set generation: plain"
        )
    return "server" if asked == "server" else "colocate"


def generation(step: ReinforcementConfig | DistillationConfig, ground: Ground, context: int, vllm: bool | None = None) -> Arguments:
    """How answers are generated. vLLM's own log-probabilities differ from the trainer's: TRL corrects by importance, on by default.

    Raises:
        ResourceError: as `engine`.
        ConfigError: a server without its URL.
    """
    found = engine(step, ground, vllm)
    if found == "plain":
        return {"use_vllm": False}
    if found == "server":
        if not step.placement.generation_url:
            do = "start `trl vllm-serve --model FOLDER` and give its URL"
            raise ConfigError("generation 'server' without its URL", where="placement.generation_url", do=do)
        return {"use_vllm": True, "vllm_mode": "server", "vllm_server_base_url": step.placement.generation_url}
    return {
        "use_vllm": True,
        "vllm_mode": "colocate",
        "vllm_gpu_memory_utilization": step.placement.generation_memory,
        "vllm_max_model_length": context,
        "vllm_enable_sleep_mode": True,
    }


def _evaluation(step: ReinforcementConfig, ground: Ground, heldout: int) -> Arguments:
    if not heldout:
        return {"eval_strategy": "no"}
    at_once = max(1, min(heldout, step.global_batch_size) // ground.world_size)
    return {
        "eval_strategy": "steps",
        "eval_steps": step.alarms.window,
        "eval_on_start": True,
        "num_generations_eval": 1,
        "per_device_eval_batch_size": at_once,
    }
