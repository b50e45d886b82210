"""Bytes of memory per rank: weights, gradients, optimizer, activations, and the key/value cache of inference."""

from __future__ import annotations

from models.config import ModelConfig
from models.count import parameters_per_rank
from models.layout import Layout
from models.precision import Precision

GIB = 2**30
PROCESS_BYTES = 320 * 2**20
"""Resident memory of one rank after the imports, before any tensor (measured on CPU)."""


def static_bytes_per_rank(
    model: ModelConfig, layout: Layout, precision: Precision, pipeline_rank: int = 0, optimizer: str = "adamw"
) -> int:
    """Weights, float32 gradients and optimizer state of one rank.

    bfloat16: 2 (weight) + 4 (gradient) bytes a parameter, and 12 (master weight, two moments) divided over the data-parallel and
    context-parallel ranks by the distributed optimizer: 8.68 GiB for SmolLM3-3B at TP2 x DP192. float32 needs no master copy: 4 + 4 + 8.
    Muon keeps its state whole on every rank, with one moment for matrices (counted as two: an upper bound).
    """
    shared = 1 if optimizer == "muon" else layout.data_parallel_size * layout.context_parallel_size
    held, sharded = (6, 12) if precision.dtype == "bfloat16" else (8, 8)
    n = parameters_per_rank(model, layout, pipeline_rank)
    return n * held + -(-n * sharded // shared)


def activation_bytes_per_rank(
    model: ModelConfig, layout: Layout, precision: Precision, sequence_length: int, pipeline_rank: int = 0, microbatches: int = 1
) -> int:
    """Estimate of the activations kept for the backward pass, with fused attention (no attention matrix is kept).

    Per token and layer, in values: norm input and norm output twice (4 h), queries, keys, values and attention output (2 a + 2 k), gate, up
    and their product (3 f), and one float32 per head; 92.7 KB for SmolLM3-3B in bfloat16. Tensor parallelism divides the attention and
    feed-forward part, sequence parallelism the rest. 1F1B keeps min(PP - rank, microbatches) micro-batches at once; full recomputation
    keeps every layer's input and one whole layer. The last stage adds the logits, in the training format and in float32.
    """
    t, c, p, b = layout.tensor_parallel_size, layout.context_parallel_size, layout.pipeline_parallel_size, precision.bytes_per_value
    d = model.kv_channels
    a, k = model.num_attention_heads * d, model.num_key_value_heads * d
    split = t if layout.sequence_parallel else 1
    layer = b * (4 * model.hidden_size / split + (2 * a + 2 * k + 3 * model.ffn_hidden_size) / t) + 4 * model.num_attention_heads / t
    tokens = layout.micro_batch_size * sequence_length / c
    layers = model.num_layers / p
    in_flight = float(min(p - pipeline_rank, microbatches))
    if layout.virtual_pipeline_parallel_size and p > 1:
        in_flight = min(p * (1 + (p - 1) / (p * layout.virtual_pipeline_parallel_size)), microbatches)
    if layout.recompute == "full":
        total = tokens * (in_flight * layers * b * model.hidden_size / split + layer)
    else:
        total = tokens * in_flight * layers * layer
    if pipeline_rank == p - 1:
        total += tokens * (b + 4) * model.vocab_size / t
    return int(total)


def bytes_per_rank(
    model: ModelConfig, layout: Layout, precision: Precision, sequence_length: int, microbatches: int = 1, optimizer: str = "adamw"
) -> int:
    """Static memory plus activations of the fullest pipeline stage."""
    return max(
        static_bytes_per_rank(model, layout, precision, rank, optimizer)
        + activation_bytes_per_rank(model, layout, precision, sequence_length, rank, microbatches)
        for rank in range(layout.pipeline_parallel_size)
    )


def key_value_bytes_per_token(model: ModelConfig, bytes_per_value: int = 2) -> int:
    """Bytes that one token takes in the key/value cache: 73,728 for SmolLM3-3B in 16 bit (9.0 GiB at 128k tokens)."""
    return 2 * model.num_layers * model.num_key_value_heads * model.kv_channels * bytes_per_value
