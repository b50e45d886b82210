"""Conversion: Megatron checkpoint to Hugging Face folder, behind a parity gate; from there to GGUF."""

from tasks.conversion.artifact import model_in
from tasks.conversion.gguf import export_gguf, require_converter, require_rope
from tasks.conversion.judgement import parity_problems

__all__ = ["export_gguf", "model_in", "parity_problems", "require_converter", "require_rope"]
