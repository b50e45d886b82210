"""Conversion: Megatron checkpoint to Hugging Face folder, behind a parity gate."""

from tasks.conversion.judgement import parity_problems

__all__ = ["parity_problems"]
