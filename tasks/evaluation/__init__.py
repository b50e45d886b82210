"""Evaluation: what the converted model can do, with intervals."""
