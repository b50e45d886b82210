"""Builds this rank's Megatron-core model: one code path for CPU (gloo) and GPU (NCCL, Transformer Engine), chosen in models.backend."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from contracts.errors import ConfigError
from models.backend import DEVICE, HAVE_CUDA, HAVE_TRANSFORMER_ENGINE
from models.config import ModelConfig
from models.layout import Layout
from models.precision import Precision

# isort: split
from megatron.core import parallel_state
from megatron.core.models.gpt import GPTModel
from megatron.core.models.gpt.gpt_layer_specs import get_gpt_layer_local_spec, get_gpt_layer_with_transformer_engine_spec
from megatron.core.packed_seq_params import PackedSeqParams
from megatron.core.tensor_parallel import reduce_from_tensor_model_parallel_region
from megatron.core.transformer import TransformerConfig
from megatron.core.transformer.module import Float16Module
from megatron.core.transformer.spec_utils import ModuleSpec
from megatron.core.transformer.transformer_block import TransformerBlockSubmodules, get_num_layers_to_build

from models import weights
from models.modules import RMSNorm, SDPACoreAttention

__all__ = ["DEVICE", "GPT", "HAVE_CUDA", "HAVE_TRANSFORMER_ENGINE", "build", "packed_params", "transformer_config"]


class GPT(GPTModel):  # type: ignore[misc]
    """GPTModel with z-loss on the logits (megatron-core has one for the router of mixtures of experts only)."""

    z_loss = 0.0

    def compute_language_model_loss(self, labels: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        """labels [b, s], logits [s, b, vocab / TP] -> loss of each token [b, s]: cross entropy + z_loss x log(Z)^2."""
        if not self.z_loss:
            return super().compute_language_model_loss(labels, logits)
        # log(Z) = cross entropy + the target's logit, which is read first because the cross entropy overwrites float32 logits in place;
        # by index and not by gather(), which would keep the logits for the backward pass and then find them changed.
        target = labels.transpose(0, 1) - parallel_state.get_tensor_model_parallel_rank() * logits.size(-1)
        here = (target >= 0) & (target < logits.size(-1))
        flat = logits.reshape(-1, logits.size(-1))
        row = torch.arange(flat.size(0), device=flat.device)
        picked = flat[row, target.where(here, 0).reshape(-1)].view(target.shape).float() * here
        target_logit = reduce_from_tensor_model_parallel_region(picked).transpose(0, 1)
        cross_entropy = super().compute_language_model_loss(labels, logits)
        return cross_entropy + self.z_loss * (cross_entropy + target_logit) ** 2


def build(
    model: ModelConfig,
    layout: Layout,
    precision: Precision,
    sequence_length: int,
    rope_theta: float | None = None,
    seed: int | None = None,
    device: torch.device | None = None,
) -> list[torch.nn.Module]:
    """The model chunks of this rank, one per virtual pipeline stage, not yet wrapped for data parallelism.

    Needs `models.parallel.initialise`. A chunk is called as `chunk(tokens, position_ids, None, labels=..., packed_seq_params=...)`, tokens
    [b, s]; with labels the last stage returns the loss of each token [b, s] in float32, without them the logits [b, s, vocab / TP]. In
    bfloat16 each chunk is a Float16Module around the model.

    Args:
        sequence_length: longest sequence it will see, in tokens.
        rope_theta: the phase's own RoPE base; unset: the model's.
        seed: draw the initial weights, the same ones at every layout and on every device (models.weights). Unset: weights are left
            unwritten, for a checkpoint to fill.
        device: `torch.device("meta")` to measure a model without memory (on a GPU core still allocates the embedding); unset: DEVICE.

    Raises:
        ConfigError: a precision that this backend would ignore.
    """
    where = device or DEVICE
    config = transformer_config(model, layout, precision, init_model_with_meta_device=where.type == "meta")
    v = layout.virtual_pipeline_parallel_size
    chunks: list[torch.nn.Module] = []
    for stage in range(v) if v else [None]:
        with where:
            chunk = _chunk(model, config, sequence_length, rope_theta or model.rope_theta, stage)
        chunks.append(Float16Module(config, chunk) if precision.dtype == "bfloat16" else chunk)
    if seed is not None:
        weights.initialise(chunks, model, seed)
    return chunks


def transformer_config(model: ModelConfig, layout: Layout, precision: Precision, **overrides: Any) -> TransformerConfig:
    """megatron-core's config. Loss is averaged per token: a loss function returns (sum of losses, number of tokens, report).

    Raises:
        ConfigError: FP8 without Transformer Engine, which megatron-core would ignore silently.
    """
    if precision.fp8 and not HAVE_TRANSFORMER_ENGINE:
        raise ConfigError(
            "fp8 needs a GPU with Transformer Engine; here megatron-core would ignore it silently", do="leave precision.fp8 unset"
        )
    dtype = torch.bfloat16 if precision.dtype == "bfloat16" else torch.float32
    options: dict[str, Any] = {
        "num_layers": model.num_layers,
        "hidden_size": model.hidden_size,
        "num_attention_heads": model.num_attention_heads,
        "num_query_groups": model.num_key_value_heads,
        "kv_channels": model.kv_channels,
        "ffn_hidden_size": model.ffn_hidden_size,
        "normalization": "RMSNorm",
        "layernorm_epsilon": model.rms_norm_eps,
        "qk_layernorm": model.qk_norm,
        "gated_linear_unit": True,
        "activation_func": F.silu,
        "add_bias_linear": False,
        "hidden_dropout": 0.0,
        "attention_dropout": 0.0,
        # A list, not a period: core demands that a period divides the number of layers.
        "no_rope_freq": None if all(model.rope_layers) else [int(not rope) for rope in model.rope_layers],
        "params_dtype": dtype,
        "pipeline_dtype": dtype,
        "autocast_dtype": dtype,
        "bf16": dtype == torch.bfloat16,
        # models.weights draws the weights. Not by perform_initialization=False, with which core would not mark them as split either.
        "init_method": _leave_unwritten,
        "output_layer_init_method": _leave_unwritten,
        "embedding_init_method": _leave_unwritten,
        "use_cpu_initialization": not HAVE_CUDA,
        "calculate_per_token_loss": True,
        "gradient_accumulation_fusion": layout.gradient_accumulation_fusion,
    }
    return TransformerConfig(**(options | _layout_options(layout) | _fused_options() | precision.transformer_options() | overrides))


def packed_params(cu_seqlens: torch.Tensor) -> PackedSeqParams:
    """Documents packed end to end in one row, so that tokens attend within their own.

    Tokens, labels and position ids are then [1, t], t = micro_batch_size x sequence_length, and the pipeline schedule is told
    seq_length = t, micro_batch_size = 1. A document never spans two sequences.

    Args:
        cu_seqlens: int32 [documents + 1], first 0, last t: where each document begins, and the end.

    Raises:
        ConfigError: under context parallelism, a document that cannot be cut into 2 x CP equal chunks.
    """
    lengths = cu_seqlens[1:] - cu_seqlens[:-1]
    c = parallel_state.get_context_parallel_world_size()
    if c > 1 and bool((lengths % (2 * c)).any()):
        raise ConfigError(
            f"context_parallel_size {c} cuts every document into {2 * c} equal chunks, and a document here cannot be",
            do=f"pad documents to multiples of {2 * c} tokens, or turn document_masking off for this phase",
        )
    longest = int(lengths.max())
    return PackedSeqParams(
        qkv_format="thd", cu_seqlens_q=cu_seqlens, cu_seqlens_kv=cu_seqlens, max_seqlen_q=longest, max_seqlen_kv=longest
    )  # fmt: skip


def _leave_unwritten(weight: torch.Tensor) -> torch.Tensor:
    return weight


def _layout_options(layout: Layout) -> dict[str, Any]:
    interleaved = layout.virtual_pipeline_parallel_size is not None
    options: dict[str, Any] = {
        "tensor_model_parallel_size": layout.tensor_parallel_size,
        "pipeline_model_parallel_size": layout.pipeline_parallel_size,
        "virtual_pipeline_model_parallel_size": layout.virtual_pipeline_parallel_size,
        "context_parallel_size": layout.context_parallel_size,
        "sequence_parallel": layout.sequence_parallel,
        "batch_p2p_comm": layout.batch_p2p,
        "batch_p2p_sync": layout.batch_p2p,
        "overlap_p2p_comm": interleaved and not layout.batch_p2p,
        # After an overlapped send core drops the tensor's storage at once: NCCL orders that on a stream, gloo would read freed memory.
        "deallocate_pipeline_outputs": HAVE_CUDA,
    }
    if layout.recompute == "full":
        options |= {"recompute_granularity": "full", "recompute_method": "uniform", "recompute_num_layers": 1}
    elif layout.recompute == "selective":
        options |= {"recompute_granularity": "selective", "recompute_modules": ["core_attn"]}
    return options


def _fused_options() -> dict[str, Any]:
    """Fused kernels exist with CUDA or with Transformer Engine only."""
    return {
        "bias_dropout_fusion": HAVE_CUDA,
        "bias_activation_fusion": HAVE_CUDA,
        "cross_entropy_loss_fusion": HAVE_CUDA,
        "masked_softmax_fusion": HAVE_TRANSFORMER_ENGINE,
        "apply_rope_fusion": HAVE_TRANSFORMER_ENGINE,
        "persist_layer_norm": HAVE_TRANSFORMER_ENGINE,
    }


def _chunk(model: ModelConfig, config: TransformerConfig, sequence_length: int, rope_theta: float, vp_stage: int | None) -> GPT:
    position = {"ignore_virtual": vp_stage is None, "vp_stage": vp_stage}
    chunk = GPT(
        config,
        _specification(model, config, vp_stage),
        model.vocab_size,
        sequence_length,
        pre_process=parallel_state.is_pipeline_first_stage(**position),
        post_process=parallel_state.is_pipeline_last_stage(**position),
        share_embeddings_and_output_weights=model.tie_embeddings,
        position_embedding_type="rope",
        rotary_base=rope_theta,
        parallel_output=True,
        vp_stage=vp_stage,
    )
    chunk.z_loss = model.z_loss
    if vp_stage is not None:
        chunk.model_chunk = vp_stage
    return chunk


def _specification(model: ModelConfig, config: TransformerConfig, vp_stage: int | None) -> ModuleSpec | TransformerBlockSubmodules:
    if HAVE_TRANSFORMER_ENGINE:
        return get_gpt_layer_with_transformer_engine_spec(qk_layernorm=model.qk_norm)
    layer = get_gpt_layer_local_spec(normalization="RMSNorm", qk_layernorm=model.qk_norm)
    layer.submodules.input_layernorm = layer.submodules.pre_mlp_layernorm = RMSNorm
    attention = layer.submodules.self_attention.submodules
    attention.core_attention = SDPACoreAttention
    if model.qk_norm:
        attention.q_layernorm = attention.k_layernorm = RMSNorm
    # The whole block's specification, because from a bare layer's core would choose its own final norm.
    count = get_num_layers_to_build(config, vp_stage=vp_stage, pp_rank=parallel_state.get_pipeline_model_parallel_rank())
    return TransformerBlockSubmodules(layer_specs=[layer] * count, layer_norm=RMSNorm)
