"""Training craft: the Megatron-core trainer that runs under torchrun."""
