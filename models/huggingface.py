"""The Hugging Face side of a model: its configuration, and how Megatron's parameters are named and laid out there."""

from __future__ import annotations

from typing import Any

import torch

from contracts.errors import ConfigError
from models.config import ModelConfig

EMBEDDING, OUTPUT, FINAL_NORM = "model.embed_tokens.weight", "lm_head.weight", "model.norm.weight"
_OUTSIDE_LAYERS = {
    "embedding.word_embeddings.weight": EMBEDDING,
    "output_layer.weight": OUTPUT,
    "decoder.final_layernorm.weight": FINAL_NORM,
}
# Megatron's name within a layer (local specification and Transformer Engine's fused norm) -> Hugging Face's, in the order they are stacked.
_IN_LAYER = {
    "input_layernorm.weight": ["input_layernorm.weight"],
    "self_attention.linear_qkv.layer_norm_weight": ["input_layernorm.weight"],
    "self_attention.linear_qkv.weight": ["self_attn.q_proj.weight", "self_attn.k_proj.weight", "self_attn.v_proj.weight"],
    "self_attention.q_layernorm.weight": ["self_attn.q_norm.weight"],
    "self_attention.k_layernorm.weight": ["self_attn.k_norm.weight"],
    "self_attention.linear_proj.weight": ["self_attn.o_proj.weight"],
    "pre_mlp_layernorm.weight": ["post_attention_layernorm.weight"],
    "mlp.linear_fc1.layer_norm_weight": ["post_attention_layernorm.weight"],
    "mlp.linear_fc1.weight": ["mlp.gate_proj.weight", "mlp.up_proj.weight"],
    "mlp.linear_fc2.weight": ["mlp.down_proj.weight"],
}


def architecture(model: ModelConfig) -> tuple[str, str]:
    """(model_type, class name) of the transformers class that is this model: SmolLM3 (NoPE layers), Qwen3 (QK norm), else Llama.

    Raises:
        ConfigError: QK norm together with NoPE layers, which no transformers class has.
    """
    nope = not all(model.rope_layers)
    if model.qk_norm and nope:
        raise ConfigError(
            "no transformers class has both QK norm and NoPE layers, so this model could not be loaded outside Megatron",
            where="model.qk_norm, model.no_rope_every",
            do="set qk_norm: false (as SmolLM3 does) or no_rope_every: 0",
        )
    if nope:
        return "smollm3", "SmolLM3ForCausalLM"
    return ("qwen3", "Qwen3ForCausalLM") if model.qk_norm else ("llama", "LlamaForCausalLM")


def config(model: ModelConfig, *, rope_theta: float | None = None, max_position_embeddings: int | None = None) -> dict[str, Any]:
    """The content of config.json, token ids and dtype left to whoever knows the tokenizer (they are null here, never a class's default).

    Args:
        rope_theta: base of the last phase, where it differs from the model's.
        max_position_embeddings: longest sequence it was trained on; unset: the model's max_sequence_length.

    Raises:
        ConfigError: no transformers class fits.
    """
    model_type, name = architecture(model)
    theta = rope_theta or model.rope_theta
    fields: dict[str, Any] = {
        "architectures": [name],
        "model_type": model_type,
        "vocab_size": model.vocab_size,
        "hidden_size": model.hidden_size,
        "intermediate_size": model.ffn_hidden_size,
        "num_hidden_layers": model.num_layers,
        "num_attention_heads": model.num_attention_heads,
        "num_key_value_heads": model.num_key_value_heads,
        "head_dim": model.kv_channels,
        "hidden_act": "silu",
        "max_position_embeddings": max_position_embeddings or model.max_sequence_length,
        "initializer_range": model.init_std,
        "rms_norm_eps": model.rms_norm_eps,
        "tie_word_embeddings": model.tie_embeddings,
        "rope_parameters": {"rope_type": "default", "rope_theta": theta},
        "attention_bias": False,
        "mlp_bias": False,
        "attention_dropout": 0.0,
        "use_cache": True,
        "pad_token_id": None,
        "bos_token_id": None,
        "eos_token_id": None,
    }
    if model_type == "smollm3":
        fields |= {
            "no_rope_layers": [int(rope) for rope in model.rope_layers],
            "no_rope_layer_interval": model.no_rope_every,
            "layer_types": ["full_attention"] * model.num_layers,
            "use_sliding_window": False,
            "sliding_window": None,
        }
    return fields


def names(megatron_name: str, layer_offset: int) -> list[str]:
    """Hugging Face names of the tensors that one Megatron parameter holds.

    Args:
        megatron_name: as in `named_parameters()` of a model chunk.
        layer_offset: global number of the chunk's first layer.
    """
    if megatron_name in _OUTSIDE_LAYERS:
        return [_OUTSIDE_LAYERS[megatron_name]]
    _, _, layer, rest = megatron_name.split(".", 3)
    return [f"model.layers.{int(layer) + layer_offset}.{name}" for name in _IN_LAYER[rest]]


def shapes(model: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Every tensor of the Hugging Face model with its shape, in the file's order; a tied output layer is not listed."""
    h, d, f = model.hidden_size, model.kv_channels, model.ffn_hidden_size
    a, k = model.num_attention_heads * d, model.num_key_value_heads * d
    layer: dict[str, tuple[int, ...]] = {
        "input_layernorm.weight": (h,),
        "self_attn.q_proj.weight": (a, h),
        "self_attn.k_proj.weight": (k, h),
        "self_attn.v_proj.weight": (k, h),
        "self_attn.o_proj.weight": (h, a),
        "post_attention_layernorm.weight": (h,),
        "mlp.gate_proj.weight": (f, h),
        "mlp.up_proj.weight": (f, h),
        "mlp.down_proj.weight": (h, f),
    }
    if model.qk_norm:
        layer |= {"self_attn.q_norm.weight": (d,), "self_attn.k_norm.weight": (d,)}
    table = (model.vocab_size, h)
    result: dict[str, tuple[int, ...]] = {EMBEDDING: table}
    for number in range(model.num_layers):
        result |= {f"model.layers.{number}.{name}": shape for name, shape in layer.items()}
    return result | {FINAL_NORM: (h,)} | ({} if model.tie_embeddings else {OUTPUT: table})


def stack(parts: list[torch.Tensor], megatron_name: str, model: ModelConfig) -> torch.Tensor:
    """The whole Megatron parameter from its Hugging Face tensors: q, k, v interleaved per key/value group; gate, then up."""
    if megatron_name.endswith("linear_qkv.weight"):
        groups, width = model.num_key_value_heads, parts[0].shape[-1]
        return torch.cat([part.reshape(groups, -1, width) for part in parts], 1).reshape(-1, width)
    return torch.cat(parts, 0) if len(parts) > 1 else parts[0]


def unstack(whole: torch.Tensor, megatron_name: str, model: ModelConfig) -> list[torch.Tensor]:
    """The Hugging Face tensors of a whole Megatron parameter; the inverse of `stack`."""
    if megatron_name.endswith("linear_qkv.weight"):
        groups, d, width = model.num_key_value_heads, model.kv_channels, whole.shape[-1]
        rows = [model.num_attention_heads // groups * d, d, d]
        return [part.reshape(-1, width) for part in whole.view(groups, -1, width).split(rows, 1)]
    return list(whole.chunk(2, 0)) if megatron_name.endswith("linear_fc1.weight") else [whole]
