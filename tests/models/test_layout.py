"""Every layout that cannot work is refused with its reason, and the ones that were trained are not."""

from __future__ import annotations

from typing import Any

import pytest

from contracts.errors import ConfigError
from models.config import ModelConfig
from models.layout import Layout, check
from models.precision import Precision

TINY = ModelConfig.preset("tiny")
SMOLLM3 = ModelConfig.preset("smollm3-3b")
BF16 = Precision(dtype="bfloat16")


def fp8(recipe: str, **more: Any) -> Precision:
    return Precision.parse(
        {"dtype": "bfloat16", "fp8": "hybrid" if recipe in ("delayed", "tensorwise") else "e4m3", "fp8_recipe": recipe, **more}
    )


def checked(layout: dict[str, Any], *, model: ModelConfig = TINY, precision: Precision | None = None, **case: Any) -> None:
    defaults = {"sequence_length": 256, "global_batch_size": 8, "device": "cpu"}
    check(model, Layout.parse(layout), precision or Precision(), **(defaults | case))


@pytest.mark.parametrize(
    "layout",
    [
        {},
        {"tensor_parallel_size": 2},
        {"tensor_parallel_size": 2, "sequence_parallel": True},
        {"pipeline_parallel_size": 2},
        {"pipeline_parallel_size": 2, "batch_p2p": True},
        {"pipeline_parallel_size": 2, "virtual_pipeline_parallel_size": 2},
        {"data_parallel_size": 2, "micro_batch_size": 4, "overlap_grad_reduce": True, "overlap_param_gather": True},
        {"tensor_parallel_size": 2, "pipeline_parallel_size": 2, "recompute": "full"},
    ],
)
def test_layouts_that_work_on_a_cpu_pass(layout: dict[str, Any]) -> None:
    checked(layout)


def test_context_parallelism_on_a_cpu_passes_without_document_masking() -> None:
    checked({"context_parallel_size": 2}, model=ModelConfig.preset("tiny", document_masking=False))


def test_smollm3_on_384_gpus_passes_as_it_was_trained() -> None:
    main = {"tensor_parallel_size": 2, "sequence_parallel": True, "data_parallel_size": 192, "micro_batch_size": 3}
    checked(main, model=SMOLLM3, precision=BF16, sequence_length=4096, global_batch_size=576, device="cuda", devices_per_node=8)
    long = {"tensor_parallel_size": 2, "context_parallel_size": 4, "data_parallel_size": 12}
    checked(long, model=SMOLLM3, precision=BF16, sequence_length=32768, global_batch_size=72, device="cuda", devices_per_node=8)


@pytest.mark.parametrize("recipe", ["delayed", "tensorwise", "blockwise"])
def test_every_recipe_of_a_hopper_gpu_passes_for_smollm3(recipe: str) -> None:
    case = {"sequence_length": 4096, "global_batch_size": 8, "device": "cuda", "compute_capability": (9, 0), "cuda_version": (13, 0)}
    checked({"micro_batch_size": 2}, model=SMOLLM3, precision=fp8(recipe), **case)


REFUSED: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"tensor_parallel_size": 3}, {"model": SMOLLM3}, "num_attention_heads 16 cannot be split over tensor_parallel_size 3"),
    ({"tensor_parallel_size": 8}, {"model": SMOLLM3}, "num_key_value_heads 4 cannot be split over tensor_parallel_size 8"),
    ({"tensor_parallel_size": 2}, {"model": ModelConfig.preset("tiny", ffn_hidden_size=385)}, "ffn_hidden_size 385 cannot be split"),
    ({}, {"model": ModelConfig.preset("tiny", vocab_size=2000)}, "vocab_size 2000 is no multiple of 128"),
    ({"sequence_parallel": True}, {}, "sequence_parallel needs tensor_parallel_size of 2 or more"),
    ({"tensor_parallel_size": 4}, {"model": SMOLLM3, "devices_per_node": 2}, "would leave the machine"),
    ({"pipeline_parallel_size": 3}, {}, "num_layers 4 cannot be split over pipeline_parallel_size 3"),
    ({"pipeline_parallel_size": 2, "virtual_pipeline_parallel_size": 3}, {}, "pipeline_parallel_size 2 x virtual_pipeline_parallel_size 3"),
    ({"virtual_pipeline_parallel_size": 2}, {}, "needs pipeline_parallel_size of 2 or more"),
    ({"pipeline_parallel_size": 2, "virtual_pipeline_parallel_size": 2, "micro_batch_size": 8}, {}, "1 of them cannot be grouped"),
    ({"pipeline_parallel_size": 2, "virtual_pipeline_parallel_size": 2, "batch_p2p": True}, {}, "batch_p2p with an interleaved pipeline"),
    ({}, {"sequence_length": 512}, "sequence_length 512 exceeds max_sequence_length 256"),
    ({"context_parallel_size": 2}, {"sequence_length": 250}, "cuts every sequence into 4 chunks"),
    ({"context_parallel_size": 2}, {}, "packed documents .* Transformer Engine's attention only"),
    ({"tensor_parallel_size": 2, "sequence_parallel": True}, {"sequence_length": 255}, "sequence_parallel splits sequence_length 255"),
    ({"micro_batch_size": 3}, {}, "global_batch_size 8 is no multiple of micro_batch_size 3 x data_parallel_size 1"),
    ({"tensor_parallel_size": 2}, {"optimizer": "muon"}, "needs tensor_parallel_size 1"),
    ({}, {"optimizer": "muon", "precision": BF16}, "plain float32 optimizer"),
    ({"overlap_grad_reduce": True, "overlap_param_gather": True}, {"optimizer": "muon"}, "distributed optimizer, which muon does not use"),
    ({"overlap_param_gather": True}, {}, "overlap_param_gather needs overlap_grad_reduce"),
    ({"gradient_accumulation_fusion": True}, {}, "gradient_accumulation_fusion needs a GPU with Transformer Engine"),
    ({}, {"precision": fp8("tensorwise")}, "fp8 needs a GPU"),
    ({}, {"precision": fp8("tensorwise"), "device": "cuda", "transformer_engine": False}, "fp8 needs Transformer Engine"),
    (
        {},
        {"precision": fp8("mxfp8"), "device": "cuda", "compute_capability": (9, 0)},
        r"needs compute capability 10.x .*this device has 9.0",
    ),
    ({}, {"precision": fp8("blockwise"), "device": "cuda", "compute_capability": (8, 9)}, "needs compute capability 9.0"),
    ({}, {"precision": fp8("tensorwise"), "device": "cuda", "compute_capability": (8, 0)}, "needs compute capability 8.9"),
    ({}, {"precision": fp8("blockwise"), "device": "cuda", "cuda_version": (12, 8)}, r"CUDA 12.9 or newer; this one has 12.8"),
    (
        {},
        {"precision": fp8("blockwise"), "device": "cuda", "model": ModelConfig.preset("smollm2-135m")},
        "tiles of 128; hidden_size is 576",
    ),
    ({}, {"precision": fp8("tensorwise"), "device": "cuda", "sequence_length": 252}, "needs a multiple of 8 tokens"),
    (
        {"pipeline_parallel_size": 4},
        {"precision": fp8("tensorwise", bf16_last_layers=2), "device": "cuda"},
        "must fit in one pipeline stage of 1 layers",
    ),
]


@pytest.mark.parametrize(("layout", "case", "reason"), REFUSED, ids=[reason[:40] for _, _, reason in REFUSED])
def test_a_layout_that_cannot_work_is_refused_with_the_reason(layout: dict[str, Any], case: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        checked(layout, **case)


def test_all_reasons_are_given_at_once() -> None:
    with pytest.raises(ConfigError, match="pipeline_parallel_size 3; global_batch_size 8 is no multiple"):
        checked({"pipeline_parallel_size": 3, "micro_batch_size": 5})


def test_ranks_and_micro_batches_are_counted() -> None:
    layout = Layout(tensor_parallel_size=2, pipeline_parallel_size=4, context_parallel_size=2, data_parallel_size=24, micro_batch_size=3)
    assert (layout.world_size, layout.microbatches(576)) == (384, 8)
