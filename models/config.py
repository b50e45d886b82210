"""The architecture of a decoder-only language model: RMSNorm, SwiGLU, grouped-query attention, RoPE with NoPE layers."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import Field, model_validator

from contracts.config import Config, nearest

PRESETS = Path(__file__).with_name("presets.yaml")


class ModelConfig(Config):
    """Everything about the architecture. `{"preset": NAME, ...}` starts from a preset of presets.yaml; the name itself is not kept."""

    hidden_size: int = Field(gt=0)
    """Width of the residual stream."""
    num_layers: int = Field(gt=0)
    """Number of transformer layers."""
    num_attention_heads: int = Field(gt=0)
    """Query heads per layer."""
    num_key_value_heads: int = Field(gt=0)
    """Key/value heads per layer (grouped-query attention; equal to the query heads: multi-head attention)."""
    head_dim: int | None = Field(default=None, gt=0)
    """Size of one head; unset: hidden_size / num_attention_heads."""
    ffn_hidden_size: int = Field(gt=0)
    """Width of the SwiGLU feed-forward layer."""
    vocab_size: int = Field(gt=0)
    """Entries of the vocabulary, a multiple of 128 for training."""
    max_sequence_length: int = Field(gt=0)
    """Longest sequence any phase trains on, in tokens."""
    rope_theta: float = Field(default=10000.0, gt=0)
    """Base of the rotary position embedding; a phase may override it."""
    no_rope_every: int = Field(default=0, ge=0)
    """Every n-th layer carries no rotary embedding (NoPE); 0: every layer has RoPE. SmolLM3: 4."""
    tie_embeddings: bool = True
    """The output layer shares the embedding matrix."""
    rms_norm_eps: float = Field(default=1e-6, gt=0)
    """Epsilon of every RMSNorm."""
    init_std: float = Field(default=0.02, gt=0)
    """Standard deviation of the normal initialisation; about 1/sqrt(hidden_size) suits tiny widths."""
    residual_init: Literal["scaled", "plain"] = "scaled"
    """Initialisation of the two projections into the residual stream: divided by sqrt(2 x num_layers), or like every other matrix."""
    qk_norm: bool = False
    """RMSNorm on every query and key head; stabilises large models, costs long-context retrieval."""
    z_loss: float = Field(default=0.0, ge=0)
    """Coefficient of log(Z)^2 added to the loss of each token; 0: off. SmolLM3 kept 1e-5 in its file, disabled."""
    document_masking: bool = True
    """Tokens attend within their own document only."""

    @model_validator(mode="before")
    @classmethod
    def _from_preset(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        data = dict(data)
        name = data.pop("preset", None)
        if name is not None:
            if name not in presets():
                raise ValueError(f"no preset '{name}'{nearest(str(name), sorted(presets()))}")
            if set(cls.model_fields) <= set(data):
                raise ValueError(f"preset '{name}' beside every field would change nothing; replace the section: model={{preset: {name}}}")
            data = {**presets()[name], **data}
        if data.get("head_dim") and data["head_dim"] == _quotient(data):
            data["head_dim"] = None  # written out or left unset, it is the same model
        return data

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        if self.num_attention_heads % self.num_key_value_heads:
            raise ValueError(
                f"num_attention_heads {self.num_attention_heads} is no multiple of num_key_value_heads {self.num_key_value_heads}"
            )
        if self.head_dim is None and self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is no multiple of num_attention_heads {self.num_attention_heads}; set head_dim"
            )
        if self.kv_channels % 2:
            raise ValueError(f"a head of {self.kv_channels} channels cannot be rotated in pairs; use an even head_dim")
        return self

    @property
    def kv_channels(self) -> int:
        """Size of one head, whether written out or derived."""
        return self.head_dim or self.hidden_size // self.num_attention_heads

    @property
    def rope_layers(self) -> list[bool]:
        """For each layer, True where it rotates queries and keys."""
        n = self.no_rope_every
        return [not n or (layer + 1) % n != 0 for layer in range(self.num_layers)]

    @classmethod
    def preset(cls, name: str, **overrides: Any) -> ModelConfig:
        """The preset `name` with some fields replaced."""
        return cls.parse({"preset": name, **overrides}, f"preset {name}")


@cache
def presets() -> dict[str, dict[str, Any]]:
    """Every preset of presets.yaml: name -> fields."""
    loaded: dict[str, dict[str, Any]] = yaml.safe_load(PRESETS.read_text())
    return loaded


def _quotient(data: dict[str, Any]) -> int | None:
    try:
        return int(data["hidden_size"]) // int(data["num_attention_heads"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None  # the field's own validation says what is wrong
