"""The Hugging Face configuration and the layout of weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, SmolLM3Config

from contracts.errors import ConfigError
from models import huggingface
from models.config import ModelConfig

TINY = ModelConfig.preset("tiny")


def test_the_class_follows_from_the_architecture() -> None:
    assert huggingface.architecture(TINY) == ("smollm3", "SmolLM3ForCausalLM")
    assert huggingface.architecture(ModelConfig.preset("smollm2-135m")) == ("llama", "LlamaForCausalLM")
    assert huggingface.architecture(ModelConfig.preset("tiny", qk_norm=True, no_rope_every=0)) == ("qwen3", "Qwen3ForCausalLM")
    assert huggingface.architecture(ModelConfig.preset("tiny", no_rope_every=5)) == ("llama", "LlamaForCausalLM")  # deeper than the model


def test_qk_norm_with_nope_layers_is_refused_because_no_class_has_both() -> None:
    with pytest.raises(ConfigError, match="no transformers class has both QK norm and NoPE layers"):
        huggingface.config(ModelConfig.preset("tiny", qk_norm=True))


def test_the_configuration_survives_a_folder(tmp_path: Path) -> None:
    written = AutoConfig.for_model(**huggingface.config(TINY, rope_theta=2e6, max_position_embeddings=1024))
    written.save_pretrained(tmp_path)
    read = AutoConfig.from_pretrained(tmp_path)
    assert isinstance(read, SmolLM3Config)
    assert read.rope_parameters["rope_theta"] == 2e6
    assert (read.max_position_embeddings, read.no_rope_layers, read.tie_word_embeddings) == (1024, [1, 1, 1, 0], True)
    assert read.bos_token_id is None and read.eos_token_id is None and read.pad_token_id is None


def test_nope_layers_of_smollm3_are_those_of_the_class_itself() -> None:
    model = ModelConfig.preset("smollm3-3b")
    assert huggingface.config(model)["no_rope_layers"] == SmolLM3Config(num_hidden_layers=36, no_rope_layer_interval=4).no_rope_layers


@pytest.mark.parametrize("name", ["self_attention.linear_qkv.weight", "mlp.linear_fc1.weight", "mlp.linear_fc2.weight"])
def test_taking_a_parameter_apart_is_the_inverse_of_stacking(name: str) -> None:
    shapes = huggingface.shapes(TINY)
    megatron_name = f"decoder.layers.1.{name}"
    parts = [torch.randn(shapes[part]) for part in huggingface.names(megatron_name, layer_offset=2)]
    whole = huggingface.stack(parts, megatron_name, TINY)
    assert all(torch.equal(a, b) for a, b in zip(huggingface.unstack(whole, megatron_name, TINY), parts, strict=True))


def test_queries_lie_beside_their_own_keys_and_values() -> None:
    q, k, v = (torch.full((rows, 8), value) for rows, value in ((16, 1.0), (8, 2.0), (8, 3.0)))
    q[8:] = 4.0
    model = ModelConfig.preset("tiny", hidden_size=8, num_attention_heads=4, num_key_value_heads=2, head_dim=4)
    rows = huggingface.stack([q, k, v], "decoder.layers.0.self_attention.linear_qkv.weight", model)[:, 0].tolist()
    assert rows == [1.0] * 8 + [2.0] * 4 + [3.0] * 4 + [4.0] * 8 + [2.0] * 4 + [3.0] * 4


def test_layers_are_numbered_over_the_whole_model() -> None:
    assert huggingface.names("decoder.layers.1.mlp.linear_fc2.weight", 6) == ["model.layers.7.mlp.down_proj.weight"]
    assert huggingface.names("decoder.layers.0.self_attention.linear_qkv.layer_norm_weight", 2) == ["model.layers.2.input_layernorm.weight"]
    assert huggingface.names("output_layer.weight", 3) == ["lm_head.weight"]
