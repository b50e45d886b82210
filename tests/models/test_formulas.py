"""Parameter counts, FLOPs and memory: the published figures, and transformers' own counts."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from models import huggingface
from models.config import ModelConfig
from models.count import parameters, parameters_by_part, parameters_per_rank
from models.flops import Peak, flops_by_part, flops_per_token, measured_peak, published_peak, utilisation
from models.layout import Layout
from models.memory import GIB, activation_bytes_per_rank, bytes_per_rank, key_value_bytes_per_token, static_bytes_per_rank
from models.precision import Precision

SMOLLM3 = ModelConfig.preset("smollm3-3b")
BF16 = Precision(dtype="bfloat16")
MODELS = {
    "tiny": ModelConfig.preset("tiny"),
    "smollm2-135m": ModelConfig.preset("smollm2-135m"),
    "ablation-1b": ModelConfig.preset("ablation-1b"),
    "smollm3-3b": SMOLLM3,
    "untied, odd vocabulary": ModelConfig.preset("tiny", tie_embeddings=False, vocab_size=2001),
    "qk norm, wide heads (Qwen3)": ModelConfig.preset("tiny", qk_norm=True, no_rope_every=0, head_dim=64, tie_embeddings=False),
    "multi-head, wide heads, NoPE": ModelConfig.preset("smoke", num_key_value_heads=4, head_dim=32),
}


@pytest.mark.parametrize("name", MODELS)
def test_counts_and_shapes_equal_transformers(name: str) -> None:
    model = MODELS[name]
    with torch.device("meta"):
        reference = AutoModelForCausalLM.from_config(AutoConfig.for_model(**huggingface.config(model)))
    assert type(reference).__name__ == huggingface.architecture(model)[1]
    assert parameters(model) == sum(p.numel() for p in reference.parameters())
    assert huggingface.shapes(model) == {name: tuple(p.shape) for name, p in reference.named_parameters()}


def test_smollm3_has_3_075_098_624_parameters() -> None:
    assert parameters(SMOLLM3) == 3_075_098_624
    assert parameters_by_part(SMOLLM3)["embedding"] / parameters(SMOLLM3) == pytest.approx(0.085, abs=5e-4)
    assert parameters(ModelConfig.preset("ablation-1b")) == pytest.approx(1.24e9, rel=0.005)
    assert parameters(ModelConfig.preset("tiny")) == 1_049_728


def test_the_ranks_of_a_layout_hold_every_parameter() -> None:
    model = ModelConfig.preset("tiny", tie_embeddings=False)
    halves = [parameters_per_rank(model, Layout(tensor_parallel_size=2, pipeline_parallel_size=2), rank) for rank in (0, 1)]
    assert 2 * sum(halves) == parameters(model) + parameters_by_part(model)["norm"]  # norms are on both tensor-parallel ranks
    assert parameters_per_rank(model, Layout()) == parameters(model)


def test_flops_of_a_smollm3_token_by_each_convention() -> None:
    part = flops_by_part(SMOLLM3, 4096)
    assert [round(value / 1e9, 2) for value in part.values()] == [16.87, 1.81, 1.58]
    assert round(flops_per_token(SMOLLM3, 4096) / 1e9, 2) == 20.26
    assert round(flops_per_token(SMOLLM3, 4096, "6n") / 1e9, 2) == 18.45
    assert round(flops_per_token(SMOLLM3, 4096, "full_attention") / 1e9, 2) == 22.07


def test_utilisation_of_the_published_run_by_each_convention() -> None:
    peak = published_peak("NVIDIA H100 80GB HBM3")
    assert peak is not None and peak.flops == 989.4e12
    shares = [utilisation(13_750, flops_per_token(SMOLLM3, 4096, c), peak) for c in ("6n", "megatron", "full_attention")]
    assert [round(share, 3) for share in shares] == [0.256, 0.282, 0.307]
    assert utilisation(200.0, 1e9, Peak(1e12, "two of them"), devices=2) == pytest.approx(0.1)


def test_a_device_is_found_by_its_name_or_not_at_all() -> None:
    fp8 = published_peak("NVIDIA H200", fp8=True)
    assert fp8 is not None and fp8.flops == 1978.9e12
    l40s, a100 = published_peak("NVIDIA L40S"), published_peak("NVIDIA A100-SXM4-80GB")
    assert l40s is not None and l40s.flops == 362e12 and a100 is not None and a100.flops == 312e12
    assert published_peak("GeForce GTX 1080") is None


def test_the_peak_of_a_cpu_is_measured_and_says_how() -> None:
    peak = measured_peak(size=64, seconds=0.01)
    assert peak.flops > 1e6 and "measured, float32 product of 64 x 64" in peak.source


def test_static_memory_of_smollm3_layouts() -> None:
    main = Layout(tensor_parallel_size=2, data_parallel_size=192)
    assert round(static_bytes_per_rank(SMOLLM3, main, BF16) / GIB, 2) == 8.68
    deep = Layout(tensor_parallel_size=2, pipeline_parallel_size=4, data_parallel_size=8)
    assert [round(static_bytes_per_rank(SMOLLM3, deep, BF16, rank) / GIB, 2) for rank in range(4)] == [3.37, 2.46, 2.46, 3.37]
    assert static_bytes_per_rank(SMOLLM3, Layout(), BF16) == 18 * parameters(SMOLLM3)
    assert static_bytes_per_rank(MODELS["tiny"], Layout(), Precision()) == 16 * parameters(MODELS["tiny"])
    split = Layout(data_parallel_size=4)
    assert static_bytes_per_rank(SMOLLM3, split, BF16, optimizer="muon") > static_bytes_per_rank(SMOLLM3, split, BF16)


def test_activations_of_smollm3() -> None:
    one = activation_bytes_per_rank(SMOLLM3, Layout(), BF16, 4096)
    logits = 4096 * 6 * SMOLLM3.vocab_size
    assert (one - logits) / (36 * 4096) == pytest.approx(92_736)  # bytes per token and layer
    assert round((one - logits) / GIB, 1) == 12.7
    halved = activation_bytes_per_rank(SMOLLM3, Layout(tensor_parallel_size=2, sequence_parallel=True), BF16, 4096)
    assert halved == pytest.approx(one / 2)
    assert halved < activation_bytes_per_rank(SMOLLM3, Layout(tensor_parallel_size=2), BF16, 4096) < one
    assert activation_bytes_per_rank(SMOLLM3, Layout(recompute="full"), BF16, 4096) < one / 3
    assert activation_bytes_per_rank(SMOLLM3, Layout(context_parallel_size=2), BF16, 4096) == pytest.approx(one / 2)


def test_pipeline_stages_keep_the_micro_batches_in_flight() -> None:
    deep = Layout(pipeline_parallel_size=4)
    first, second = (activation_bytes_per_rank(SMOLLM3, deep, BF16, 4096, rank, microbatches=8) for rank in (0, 1))
    assert first / second == pytest.approx(4 / 3)
    interleaved = Layout(pipeline_parallel_size=4, virtual_pipeline_parallel_size=3)
    assert activation_bytes_per_rank(SMOLLM3, interleaved, BF16, 4096, 0, microbatches=8) / first == pytest.approx(1.25)


def test_smollm3_fits_the_gpus_it_was_trained_on() -> None:
    layout = Layout(tensor_parallel_size=2, sequence_parallel=True, data_parallel_size=192, micro_batch_size=3)
    assert 20 * GIB < bytes_per_rank(SMOLLM3, layout, BF16, 4096) < 80 * GIB
    assert bytes_per_rank(SMOLLM3, Layout(micro_batch_size=3), BF16, 4096) > 80 * GIB


def test_key_value_cache_of_smollm3() -> None:
    assert key_value_bytes_per_token(SMOLLM3) == 73_728
    assert key_value_bytes_per_token(SMOLLM3) * 131_072 / GIB == 9.0
