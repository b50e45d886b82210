"""Model FLOPs per token and the peaks that a utilisation is measured against.

Three conventions are in use, 20 % apart, so every figure names its own:
- `megatron`: 6 x (block linears + output layer) + attention at the causal half, 6 L a s; SmolLM3-3B at 4,096 tokens: 20.26 GFLOP.
- `full_attention`: as above with the whole attention matrix, 12 L a s (the PaLM formula).
- `6n`: 6 x parameters.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal

from models.config import ModelConfig
from models.count import layer_parameters, parameters

Convention = Literal["megatron", "full_attention", "6n"]
FORMULA = "megatron: 6 x (block linears + output layer) + 6 x layers x heads x head_dim x sequence_length (causal half)"


@dataclass(frozen=True)
class Peak:
    """Dense matrix-product rate of one device."""

    flops: float
    """Floating-point operations a second."""
    source: str
    """Where the figure comes from."""


# Dense data-sheet peaks of the SXM parts in FLOP/s (the advertised sparse figures are twice that).
_DENSE_BF16 = {"B200": 2250e12, "H200": 989.4e12, "H100": 989.4e12, "A100": 312e12, "L40S": 362e12, "A10G": 70e12, "L4": 121e12}
_DENSE_FP8 = {"B200": 4500e12, "H200": 1978.9e12, "H100": 1978.9e12, "L40S": 733e12, "L4": 242e12}


def flops_by_part(model: ModelConfig, sequence_length: int) -> dict[str, float]:
    """FLOPs of one token, forward and backward, by the `megatron` convention: block linears, attention, output layer."""
    layer = layer_parameters(model)
    a = model.num_attention_heads * model.kv_channels
    return {
        "linear": 6.0 * model.num_layers * (layer["attention"] + layer["mlp"]),
        "attention": 6.0 * model.num_layers * a * sequence_length,
        "output": 6.0 * model.hidden_size * model.vocab_size,
    }


def flops_per_token(model: ModelConfig, sequence_length: int, convention: Convention = "megatron") -> float:
    """FLOPs of one token, forward and backward, in a sequence of `sequence_length` tokens (recomputation not counted)."""
    if convention == "6n":
        return 6.0 * parameters(model)
    part = flops_by_part(model, sequence_length)
    return sum(part.values()) + (part["attention"] if convention == "full_attention" else 0.0)


def published_peak(device_name: str, fp8: bool = False) -> Peak | None:
    """Dense data-sheet peak of the device named by `torch.cuda.get_device_name()`; None for one that is not in the table.

    A utilisation is quoted against the bfloat16 peak even for FP8 training, so that runs compare; `fp8=True` gives the FP8 ceiling.
    """
    table = _DENSE_FP8 if fp8 else _DENSE_BF16
    for name in sorted(table, key=len, reverse=True):
        if name in device_name.upper().replace("-", " ").split():
            return Peak(table[name], f"{name} dense {'FP8' if fp8 else 'BF16'} data sheet")
    return None


def measured_peak(size: int = 512, seconds: float = 0.2) -> Peak:
    """Best float32 matrix-product rate of this process on the CPU, measured: a CPU has no one published peak."""
    import torch

    a = torch.randn(size, size)
    best, until = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < until:
        start = time.perf_counter()
        torch.mm(a, a)
        best = min(best, time.perf_counter() - start)
    return Peak(2.0 * size**3 / best, f"measured, float32 product of {size} x {size}, {torch.get_num_threads()} thread(s)")


def utilisation(tokens_per_second: float, flops_a_token: float, peak: Peak, devices: int = 1) -> float:
    """Model FLOP utilisation (MFU), 0 to 1: FLOPs the model needs a second over what `devices` could do."""
    return tokens_per_second * flops_a_token / (peak.flops * devices)
