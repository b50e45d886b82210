"""The merging section of a recipe: which checkpoints are averaged, with which weights, and what a merge may not cost.

SmolLM3's release is a linear merge of 0.9 x a soup of its preference checkpoints and 0.1 x the long-context checkpoint, which gave back
the long-context score that preference training had cost (Smol Training Playbook, model merging).
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from contracts.config import Config, Gate


class MergeInput(Config):
    """One side of a merge: a checkpoint, or the even average (soup) of several of one stage."""

    name: str
    """Name in tables."""
    stage: str
    """Stage the weights come from: `train-<phase>`, `sft`, `preference`, `reinforcement`."""
    checkpoints: int | Literal["all"] = Field(default=1)
    """How many of the stage's checkpoints are averaged, counted from the last; `all` averages every one."""
    weight: float = Field(gt=0, le=1)
    """Share in the merge."""

    @model_validator(mode="after")
    def _count(self) -> Self:
        if isinstance(self.checkpoints, int) and self.checkpoints < 1:
            raise ValueError("a merge input needs at least one checkpoint")
        return self


class MergingConfig(Config):
    """A linear or spherical average of checkpoints of one architecture."""

    method: Literal["linear", "slerp"] = "linear"
    """How weights are averaged."""
    inputs: list[MergeInput] = Field(min_length=1)
    """What is averaged; the weights must sum to 1."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the average."""
    output_dtype: Literal["float32", "bfloat16"] = "bfloat16"
    """Precision of the merged weights on disk."""
    sweep: list[float] = Field(default_factory=list)
    """Other weights of the first input to try (two inputs only); empty: the recipe's weights alone."""
    max_regression: Gate[float] = Field(default=0.02, ge=0)
    """Largest drop of any score against the first input that is accepted."""
    required_tasks: Gate[list[str]] = Field(default_factory=list)
    """Tasks that must be measured on every candidate (a long-context one above all)."""

    @model_validator(mode="after")
    def _weights(self) -> Self:
        total = sum(part.weight for part in self.inputs)
        if abs(total - 1) > 1e-6:
            raise ValueError(f"merge weights sum to {total:g}, they must sum to 1")
        if self.method == "slerp" and len(self.inputs) != 2:
            raise ValueError("slerp merges exactly two inputs")
        if self.sweep and len(self.inputs) != 2:
            raise ValueError("a sweep needs exactly two inputs")
        if any(not 0 < weight < 1 for weight in self.sweep):
            raise ValueError("every weight of a sweep lies between 0 and 1")
        return self
