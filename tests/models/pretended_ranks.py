"""Run as its own process: builds chosen ranks of large layouts on the meta device under the fake process group; writes JSON.

python pretended_ranks.py RESULT.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch

from contracts.errors import ConfigError
from models import build, parallel
from models.config import ModelConfig
from models.layout import Layout
from models.precision import Precision

# isort: split
from megatron.core import parallel_state
from megatron.core.transformer import TransformerConfig

SMOLLM3 = ModelConfig.preset("smollm3-3b")
LAYOUTS = {
    "TP2 x DP192": Layout(tensor_parallel_size=2, sequence_parallel=True, data_parallel_size=192, micro_batch_size=3),
    "TP2 x PP4": Layout(tensor_parallel_size=2, pipeline_parallel_size=4, data_parallel_size=8),
    "TP2 x PP2 x VPP3 x CP4": Layout(
        tensor_parallel_size=2, pipeline_parallel_size=2, virtual_pipeline_parallel_size=3, context_parallel_size=4, data_parallel_size=24
    ),
}
RECIPES: list[dict[str, Any]] = [
    {"fp8": "hybrid", "fp8_recipe": "delayed"},
    {"fp8": "hybrid", "fp8_recipe": "tensorwise", "fp8_param": True, "bf16_first_layers": 1, "bf16_last_layers": 1},
    {"fp8": "e4m3", "fp8_recipe": "blockwise"},
    {"fp8": "e4m3", "fp8_recipe": "mxfp8"},
]


def rank(layout: Layout, number: int) -> dict[str, Any]:
    """Coordinates, layers and parameters of one rank."""
    parallel.pretend(layout, number)
    chunks = build.build(SMOLLM3, layout, Precision(dtype="bfloat16"), 4096, device=torch.device("meta"))
    parameters = [p for chunk in chunks for p in chunk.parameters()]
    return {
        "coordinates": [
            parallel_state.get_tensor_model_parallel_rank(),
            parallel_state.get_context_parallel_rank(),
            parallel_state.get_data_parallel_rank(),
            parallel_state.get_pipeline_model_parallel_rank(),
        ],
        "layers": [[layer.layer_number for layer in chunk.module.decoder.layers] for chunk in chunks],
        "parameters": sum(p.numel() for p in parameters),
        "devices": sorted({str(p.device) for p in parameters}),
    }


def accepted_by_core(options: dict[str, Any]) -> str:
    """'' where megatron-core's own config takes the options, else its refusal."""
    try:
        TransformerConfig(num_layers=4, hidden_size=128, num_attention_heads=4, bf16=True, params_dtype=torch.bfloat16, **options)
    except (ValueError, AssertionError) as error:
        return str(error)
    return ""


def refused_alone() -> str:
    """What a process outside torchrun is told when its layout needs two."""
    try:
        parallel.initialise(Layout(tensor_parallel_size=2), seed=1)
    except ConfigError as error:
        return str(error)
    return ""


def main() -> None:
    result: dict[str, Any] = {"alone": refused_alone()}
    for name, layout in LAYOUTS.items():
        stage = layout.world_size // layout.pipeline_parallel_size
        numbers = [*range(0, layout.world_size, stage), layout.world_size - 1]
        result[name] = {str(number): rank(layout, number) for number in numbers}
    parallel.destroy()
    recipes = [Precision(dtype="bfloat16", **recipe) for recipe in RECIPES]
    result["recipes"] = {recipe.fp8_recipe: accepted_by_core(recipe.transformer_options()) for recipe in recipes}
    result["delayed with bfloat16 ends"] = accepted_by_core(
        {"fp8": "hybrid", "fp8_recipe": "delayed", "first_last_layers_bf16": True, "num_layers_at_start_in_bf16": 1}
    )
    Path(sys.argv[1]).write_text(json.dumps(result))


if __name__ == "__main__":
    main()
