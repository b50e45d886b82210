"""Conversion section of a recipe: how the model is exported, and the bounds of the parity gate.

The bounds are gates: changing one checks again and exports nothing anew (Smol Training Playbook, conversion parity). How much is compared
is part of the identity: what was not compared cannot be judged later.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from contracts.config import Config, Gate

__all__ = ["ConversionConfig", "DistributionBounds", "ParityBounds", "RoundingBounds"]


class DistributionBounds(Config):
    """How far two models' next-token distributions may be apart on held-out text; float32 arithmetic on both sides."""

    max_logit_difference: float = Field(1e-4, ge=0.0)
    """Largest absolute difference of any logit."""
    max_kl: float = Field(1e-7, ge=0.0)
    """Mean Kullback-Leibler divergence of the next-token distributions, in nats."""
    min_top1_agreement: float = Field(0.999, ge=0.0, le=1.0)
    """Share of positions at which both models rank the same token first."""
    max_perplexity_difference: float = Field(1e-4, ge=0.0)
    """Relative difference of the perplexities."""


class ParityBounds(DistributionBounds):
    """How far the exported model may be from the trained one, whose weights are rounded to the exported precision first."""

    max_embedding_difference: float = Field(0.0, ge=0.0)
    """Largest absolute difference of any embedding entry."""


class RoundingBounds(DistributionBounds):
    """What rounding to bfloat16 may cost: 8 bits put each weight off by up to 0.4 %."""

    max_logit_difference: float = Field(1.0, ge=0.0)
    """Largest absolute difference of any logit."""
    max_kl: float = Field(2e-3, ge=0.0)
    """Mean Kullback-Leibler divergence of the next-token distributions, in nats."""
    min_top1_agreement: float = Field(0.95, ge=0.0, le=1.0)
    """Share of positions at which both models rank the same token first."""
    max_perplexity_difference: float = Field(0.01, ge=0.0)
    """Relative difference of the perplexities."""


class ConversionConfig(Config):
    """Configuration of the stage `convert`."""

    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the exported weights. bfloat16 costs a model trained in float32 some accuracy, and one trained in bfloat16 nothing."""
    parity: Gate[ParityBounds] = ParityBounds()
    """Bounds of the export itself: mapping, configuration, tokenizer. The same for every precision."""
    rounding: Gate[RoundingBounds] = RoundingBounds()
    """Bounds of what rounding to bfloat16 may cost against the weights as they were trained."""
    heldout_tokens: int = Field(2048, ge=64)
    """Held-out tokens per source on which the two models are compared; another number converts and compares again."""
    greedy_tokens: int = Field(32, ge=0)
    """Tokens of greedy generation that must be equal (0: not compared); another number converts and compares again."""
