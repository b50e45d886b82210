"""Conversion: Megatron checkpoint to Hugging Face folder, behind a parity gate."""
