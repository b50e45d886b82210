"""The merging section of a recipe: the candidates, what each averages, and what the best one must keep.

SmolLM3's release is a linear merge of 0.9 x a soup of its preference checkpoints and 0.1 x the long-context checkpoint, which gave back
the long-context score that preference training had cost (Smol Training Playbook, model merging).
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from contracts.config import Config, Gate, Placement

Method = Literal["linear", "slerp", "task_arithmetic", "ties", "dare_linear", "dare_ties", "model_stock"]
NEEDS_BASE = ("task_arithmetic", "ties", "dare_linear", "dare_ties", "model_stock")
"""Methods that add differences from a base."""


class MergeInput(Config):
    """One model of a merge."""

    stage: str
    """Stage the weights come from: `pretrained`, `train-<phase>` (converted for this), `sft-<name>`, `preference-<name>`..."""
    weight: float = Field(default=1.0, gt=0, le=2)
    """Share in an average; factor of the difference from the base where a method adds differences."""
    density: float = Field(default=1.0, gt=0, le=1)
    """Share of the difference that TIES and DARE keep."""


class Candidate(Config):
    """One way to merge."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    """Name in tables."""
    method: Method = "linear"
    """How weights are combined."""
    inputs: list[MergeInput] = Field(min_length=2)
    """What is combined."""
    base: str = ""
    """Stage whose weights differences are taken from; needed by every method that adds differences."""
    grid: list[float] = Field(default_factory=list)
    """Weights of the first input to try (two inputs only; the second gets what is left of 1): one candidate each, `NAME-WEIGHT`."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        total = sum(part.weight for part in self.inputs)
        if self.method in ("linear", "slerp") and not self.grid and abs(total - 1) > 1e-6:
            raise ValueError(f"candidate '{self.name}': weights sum to {total:g}, they must sum to 1")
        if self.method == "slerp" and len(self.inputs) != 2:
            raise ValueError(f"candidate '{self.name}': slerp merges exactly two models")
        if self.grid and (len(self.inputs) != 2 or self.method not in ("linear", "slerp")):
            raise ValueError(f"candidate '{self.name}': a grid needs exactly two inputs and method linear or slerp")
        if any(not 0 < weight < 1 for weight in self.grid):
            raise ValueError(f"candidate '{self.name}': every weight of a grid lies between 0 and 1")
        if (self.method in NEEDS_BASE) != bool(self.base):
            raise ValueError(f"candidate '{self.name}': `base` belongs to {', '.join(NEEDS_BASE)}, and these need it")
        if self.method == "model_stock" and len(self.inputs) < 2:
            raise ValueError(f"candidate '{self.name}': model_stock needs two models beside its base")
        return self

    @property
    def stages(self) -> list[str]:
        """Stages whose models it reads."""
        return list(dict.fromkeys([part.stage for part in self.inputs] + ([self.base] if self.base else [])))


class MergingConfig(Config):
    """Candidates, and how the final model is chosen among them and their parents: by the weakest skill."""

    candidates: list[Candidate] = Field(min_length=1)
    """Merges to make and to measure."""
    parents: list[str] = Field(default_factory=list)
    """Stages whose models compete unmerged."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the arithmetic."""
    output_dtype: Literal["float32", "bfloat16"] = "bfloat16"
    """Precision of the merged weights on disk."""
    seed: int = 0
    """Seed of what DARE drops."""
    required_tasks: Gate[list[str]] = Field(default_factory=list)
    """Skills or tasks that must be measured on every candidate (a long-context one above all)."""
    max_regression: Gate[float] = Field(default=0.02, ge=0)
    """Largest drop of the weakest skill, against the best parent's weakest, that is accepted."""
    threads: Placement[int] = Field(default=1, ge=1)
    """Threads of the arithmetic."""

    @model_validator(mode="after")
    def _names(self) -> Self:
        names = [one.name for one in self.candidates]
        if len(set(names)) < len(names):
            raise ValueError("two candidates have the same name; names must differ")
        return self

    @property
    def stages(self) -> list[str]:
        """Every stage whose model a merge or the comparison reads."""
        return list(dict.fromkeys([*self.parents, *(stage for one in self.candidates for stage in one.stages)]))
