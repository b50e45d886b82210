"""The architecture's config: presets, derived values, and what it refuses."""

from __future__ import annotations

import pytest

from contracts.config import identity
from contracts.errors import ConfigError
from models.config import ModelConfig, presets


@pytest.mark.parametrize("name", sorted(presets()))
def test_every_preset_is_a_valid_model_and_survives_yaml(name: str) -> None:
    model = ModelConfig.preset(name)
    assert model.vocab_size % 128 == 0
    assert ModelConfig.from_yaml(model.to_yaml()) == model


def test_smollm3_is_the_published_architecture() -> None:
    model = ModelConfig.preset("smollm3-3b")
    fields = (
        model.hidden_size,
        model.num_layers,
        model.num_attention_heads,
        model.num_key_value_heads,
        model.ffn_hidden_size,
        model.vocab_size,
    )
    assert fields == (2048, 36, 16, 4, 11008, 128256)
    assert (model.kv_channels, model.rope_theta, model.rms_norm_eps, model.init_std) == (128, 50000.0, 1e-6, 0.02)
    assert model.tie_embeddings and model.document_masking and not model.qk_norm and not model.z_loss
    assert [layer for layer, rope in enumerate(model.rope_layers) if not rope] == [3, 7, 11, 15, 19, 23, 27, 31, 35]


def test_nope_layers_work_at_a_depth_the_period_does_not_divide() -> None:
    assert ModelConfig.preset("tiny", num_layers=7, no_rope_every=3).rope_layers == [True, True, False, True, True, False, True]
    assert all(ModelConfig.preset("tiny", no_rope_every=0).rope_layers)


def test_a_preset_leaves_no_trace_but_its_values() -> None:
    written_out = ModelConfig.parse(ModelConfig.preset("tiny").model_dump())
    assert written_out == ModelConfig.parse({"preset": "tiny"})
    assert "preset" not in identity(written_out)


def test_a_head_size_written_out_is_the_same_model_as_one_derived() -> None:
    assert identity(ModelConfig.preset("tiny", head_dim=32)) == identity(ModelConfig.preset("tiny"))
    assert ModelConfig.preset("tiny", head_dim=48).kv_channels == 48
    assert ModelConfig.preset("tiny").override(["hidden_size=256"]).kv_channels == 64


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"preset": "tinny"}, r"no preset 'tinny' \(did you mean 'tiny'\?\)"),
        ({"preset": "tiny", "num_layer": 3}, r"unknown key 'num_layer' \(did you mean 'num_layers'\?\)"),
        ({"preset": "tiny", "num_key_value_heads": 3}, "4 is no multiple of num_key_value_heads 3"),
        ({"preset": "tiny", "hidden_size": 130}, "130 is no multiple of num_attention_heads 4"),
        ({"preset": "tiny", "head_dim": 33}, "33 channels cannot be rotated in pairs"),
        ({"preset": "tiny", "num_attention_heads": 0}, "num_attention_heads"),
        ({"preset": "tiny", "hidden_size": "wide"}, "hidden_size"),
        ({"hidden_size": 128}, "num_layers: Field required"),
    ],
)
def test_what_cannot_be_a_model_is_refused_with_the_reason(fields: dict[str, object], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        ModelConfig.parse(fields)


def test_a_preset_beside_every_field_is_refused_because_it_would_change_nothing() -> None:
    with pytest.raises(ConfigError, match=r"replace the section: model=\{preset: smoke\}"):
        ModelConfig.preset("tiny").override(["preset=smoke"])
