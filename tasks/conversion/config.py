"""Conversion section of a recipe: how the model is exported, and the bounds of the parity gate.

The bounds are gates: changing one checks again and exports nothing anew (Smol Training Playbook, conversion parity).
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from contracts.config import Config, Gate

__all__ = ["ConversionConfig", "ParityBounds"]


class ParityBounds(Config):
    """How far the exported model may be from the trained one on held-out text; float32 arithmetic on both sides."""

    max_logit_difference: float = Field(1e-4, ge=0.0)
    """Largest absolute difference of any logit."""
    max_kl: float = Field(1e-7, ge=0.0)
    """Mean Kullback-Leibler divergence of the next-token distributions, in nats."""
    min_top1_agreement: float = Field(0.999, ge=0.0, le=1.0)
    """Share of positions at which both models rank the same token first."""
    max_perplexity_difference: float = Field(1e-4, ge=0.0)
    """Relative difference of the perplexities."""
    max_embedding_difference: float = Field(0.0, ge=0.0)
    """Largest absolute difference of any embedding entry."""
    greedy_tokens: int = Field(32, ge=0)
    """Tokens of greedy generation that must be equal (0: compared nowhere)."""


class ConversionConfig(Config):
    """Configuration of the stage `convert`."""

    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the exported weights; a float32 model loses bits in bfloat16 and is held to that row of bounds."""
    float32: Gate[ParityBounds] = ParityBounds()
    """Bounds for an export in float32."""
    bfloat16: Gate[ParityBounds] = ParityBounds(
        max_logit_difference=0.5,
        max_kl=1e-3,
        min_top1_agreement=0.97,
        max_perplexity_difference=0.01,
        max_embedding_difference=0.02,
        greedy_tokens=0,
    )
    """Bounds for an export in bfloat16 (8 bits of mantissa: each weight off by up to 0.4 %)."""
    heldout_tokens: Gate[int] = Field(2048, ge=64)
    """Held-out tokens per source on which the two models are compared."""

    def bounds(self) -> ParityBounds:
        """The bounds that hold for the exported precision."""
        return self.float32 if self.dtype == "float32" else self.bfloat16
