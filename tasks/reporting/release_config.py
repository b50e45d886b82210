"""The release section of a recipe: which files the final model is given away as."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from contracts.config import Config


class ReleaseConfig(Config):
    """Formats of the released model."""

    formats: list[Literal["safetensors", "gguf"]] = Field(default=["safetensors"], min_length=1)
    """Safetensors are always there; gguf needs llama.cpp's converter."""
    gguf_precision: Literal["f32", "f16", "bf16", "q8_0"] = "bf16"
    """Precision of the GGUF file."""
