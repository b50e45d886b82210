"""megatron-core's optimizer over the data-parallel model chunks of this rank."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from models import backend as _backend  # noqa: F401  before megatron.core
from models.config import ModelConfig
from models.layout import Layout
from models.precision import Precision
from tasks.training import muon
from tasks.training.config import OptimizerConfig

# isort: split
from megatron.core import parallel_state
from megatron.core.distributed import DistributedDataParallel, DistributedDataParallelConfig
from megatron.core.optimizer import MegatronOptimizer, ParamKey, get_megatron_optimizer, get_standard_config_overrides
from megatron.core.optimizer import OptimizerConfig as CoreOptimizerConfig
from megatron.core.optimizer.distrib_optimizer import DistributedOptimizer
from megatron.core.utils import unwrap_model

__all__ = ["inner_optimizers", "learning_rate_of", "optimizer_for", "prime", "set_learning_rate", "wrap"]

_BUCKET_ELEMENTS = 40_000_000
_UNDECAYED = ("*embedding.word_embeddings.weight",)
_TIED = ("*output_layer.weight",)
"""Under pipeline parallelism the last stage holds a copy of a tied embedding by this name."""


def wrap(chunks: Sequence[torch.nn.Module], layout: Layout, optimizer: OptimizerConfig) -> list[DistributedDataParallel]:
    """Model chunks under megatron-core's data parallelism; gradients are accumulated and reduced in float32.

    With AdamW the distributed optimizer always, at one replica too: then every checkpoint resumes at every layout.
    """
    config = DistributedDataParallelConfig(
        grad_reduce_in_fp32=True,
        use_distributed_optimizer=optimizer.kind == "adamw",
        overlap_grad_reduce=layout.overlap_grad_reduce,
        overlap_param_gather=layout.overlap_param_gather,
        bucket_size=_BUCKET_ELEMENTS if layout.overlap_grad_reduce else None,
        average_in_collective=False,
    )
    return [
        DistributedDataParallel(unwrap_model(chunk).config, config, chunk, disable_bucketing=index > 0)
        for index, chunk in enumerate(chunks)
    ]


def optimizer_for(
    chunks: Sequence[DistributedDataParallel], config: OptimizerConfig, model: ModelConfig, layout: Layout, precision: Precision
) -> MegatronOptimizer:
    """The optimizer of wrapped chunks: AdamW (distributed), or Muon with AdamW inside the plain float32 optimizer.

    Norms and embeddings carry no weight decay (Smol Training Playbook, architecture: stability).
    """
    dtype = torch.bfloat16 if precision.dtype == "bfloat16" else torch.float32
    core = CoreOptimizerConfig(
        optimizer="adam",
        lr=1.0,  # of every step: set_learning_rate
        min_lr=0.0,
        weight_decay=config.weight_decay,
        adam_beta1=config.beta1,
        adam_beta2=config.beta2,
        adam_eps=config.eps,
        clip_grad=config.clip_grad,
        bf16=dtype is torch.bfloat16,
        params_dtype=dtype,
        fp8_recipe=precision.fp8_recipe if precision.fp8 else None,
        use_distributed_optimizer=config.kind == "adamw",
        overlap_param_gather=layout.overlap_param_gather,
    )
    names = _UNDECAYED + (_TIED if model.tie_embeddings else ())
    overrides = {**get_standard_config_overrides(core), ParamKey(name=names): {"wd_mult": 0.0}}
    optimizer = get_megatron_optimizer(core, list(chunks), config_overrides=overrides, use_gloo_process_groups=False)
    if config.kind == "muon":
        _use_muon(optimizer, chunks, config, model)
    for one in inner_optimizers(optimizer):
        for group in one.optimizer.param_groups:
            group["weight_decay"] = config.weight_decay * group["wd_mult"]
    return optimizer


def inner_optimizers(optimizer: MegatronOptimizer) -> list[Any]:
    """The optimizers that a chained one consists of, without those of ranks that hold no parameters."""
    return [one for one in getattr(optimizer, "chained_optimizers", [optimizer]) if not getattr(one, "is_stub_optimizer", False)]


def set_learning_rate(optimizer: MegatronOptimizer, rate: float) -> None:
    """The rate of the next step, in every parameter group."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def learning_rate_of(optimizer: MegatronOptimizer) -> float:
    """The rate that is set."""
    return float(optimizer.param_groups[0]["lr"])


def prime(optimizer: MegatronOptimizer) -> None:
    """Zero state where there is none yet. megatron-core asserts on torch.optim.AdamW's empty state when it builds a state dict."""
    for one in inner_optimizers(optimizer):
        inner = one.optimizer
        if isinstance(inner, muon.MuonAdamW):
            inner.prime()
        elif isinstance(inner, torch.optim.Adam | torch.optim.AdamW) and not inner.state:
            for p in (p for group in inner.param_groups for p in group["params"]):
                inner.state[p] = {"step": torch.tensor(0.0), "exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)}


def separate_steps(optimizer: MegatronOptimizer) -> None:
    """Give every parameter a step counter of its own.

    megatron-core 0.16.1 hands one tensor to all of them on load; AdamW adds 1 in place per parameter, so time would run as many times too
    fast as there are parameters, silently.
    """
    for one in inner_optimizers(optimizer):
        for state in one.optimizer.state.values():
            if torch.is_tensor(state.get("step")):
                state["step"] = state["step"].clone()


def _use_muon(optimizer: MegatronOptimizer, chunks: Sequence[DistributedDataParallel], config: OptimizerConfig, model: ModelConfig) -> None:
    """Put Muon in the place of the plain optimizer's AdamW."""
    replicas = parallel_state.get_data_parallel_group(with_context_parallel=True)
    for chunk in chunks:
        muon.mark(chunk.named_parameters(), model)
    for one in inner_optimizers(optimizer):
        groups = [{k: v for k, v in group.items() if k not in ("betas", "eps")} for group in one.optimizer.param_groups]
        one.optimizer = muon.MuonAdamW(
            groups,
            1.0,
            betas=(config.beta1, config.beta2),
            eps=config.eps,
            weight_decay=config.weight_decay,
            momentum=config.muon_momentum,
            replicas=replicas,
        )
        one.init_state_fn = lambda inner, _config=None: inner.prime()


def _tolerate_absent_states() -> None:
    """megatron-core 0.16.1 copies `step` from a resharded checkpoint per parameter, although torch's AdamW keeps it there and the
    checkpoint in the parameter groups: states that the checkpoint lacks keep their own value."""
    original = DistributedOptimizer._set_main_param_and_optimizer_states

    def tolerant(self: Any, model_param: torch.nn.Parameter, tensors: dict[str, torch.Tensor]) -> None:
        group, index = self.model_param_group_index_map[model_param]
        main = self.optimizer.param_groups[group]["params"][index]
        state = {key: value for key, value in self.optimizer.state.get(main, {}).items() if torch.is_tensor(value)}
        original(self, model_param, {"param": main, **state, **tensors})

    DistributedOptimizer._set_main_param_and_optimizer_states = tolerant


_tolerate_absent_states()
