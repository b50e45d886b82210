"""Conversion: Megatron checkpoint to Hugging Face folder, behind a parity gate; from there to GGUF."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.lazy import offered

if TYPE_CHECKING:
    from tasks.conversion.artifact import model_in
    from tasks.conversion.gguf import export_gguf, require_converter, require_rope
    from tasks.conversion.judgement import parity_problems

__all__ = ["export_gguf", "model_in", "parity_problems", "require_converter", "require_rope"]

_HOMES = {
    "export_gguf": "gguf",
    "model_in": "artifact",
    "parity_problems": "judgement",
    "require_converter": "gguf",
    "require_rope": "gguf",
}

__getattr__ = offered(__name__, _HOMES)
