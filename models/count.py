"""Exact parameter counts.

Gated feed-forward, no biases: P = V h (1 if tied else 2) + L (2 h a + 2 h k + 3 h f + 2 h [+ 2 d]) + h, with a = query heads x d,
k = key/value heads x d, and [2 d] only with QK norm (Smol Training Playbook, ablation framework).
"""

from __future__ import annotations

from models.config import ModelConfig
from models.layout import Layout


def parameters(model: ModelConfig) -> int:
    """Number of parameters; a tied output layer counts once."""
    return sum(parameters_by_part(model).values())


def parameters_by_part(model: ModelConfig) -> dict[str, int]:
    """Parameters of the embedding, all attention, all feed-forward, all norms, and the output layer (0 where tied)."""
    table = model.vocab_size * model.hidden_size
    layer = layer_parameters(model)
    return {
        "embedding": table,
        "attention": model.num_layers * layer["attention"],
        "mlp": model.num_layers * layer["mlp"],
        "norm": model.num_layers * layer["norm"] + model.hidden_size,
        "output": 0 if model.tie_embeddings else table,
    }


def layer_parameters(model: ModelConfig) -> dict[str, int]:
    """Parameters of one layer: attention, mlp, norm."""
    h, d = model.hidden_size, model.kv_channels
    return {
        "attention": 2 * h * d * (model.num_attention_heads + model.num_key_value_heads),
        "mlp": 3 * h * model.ffn_hidden_size,
        "norm": 2 * h + (2 * d if model.qk_norm else 0),
    }


def parameters_per_rank(model: ModelConfig, layout: Layout, pipeline_rank: int = 0) -> int:
    """Parameters held by one rank of a pipeline stage.

    Matrices are split over tensor parallelism, norms are held by every rank. With pipeline parallelism the last stage holds its own copy of
    a tied embedding, so the stages sum to more than `parameters`.
    """
    t, p = layout.tensor_parallel_size, layout.pipeline_parallel_size
    layer = layer_parameters(model)
    total = model.num_layers // p * ((layer["attention"] + layer["mlp"]) // t + layer["norm"])
    first, last = pipeline_rank == 0, pipeline_rank == p - 1
    tables = int(first) + int(last and not (model.tie_embeddings and first))
    return total + tables * model.vocab_size * model.hidden_size // t + (model.hidden_size if last else 0)
