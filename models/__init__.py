"""What is trained: architecture, presets, parameter / FLOP / memory formulas, the Megatron-core builder and the Hugging Face mapping."""
