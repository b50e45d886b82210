"""The merging section of a recipe: the candidates, what each averages, and what the best one must keep.

SmolLM3's release is a linear merge of 0.9 x a soup of its preference checkpoints and 0.1 x the long-context checkpoint, which gave back
the long-context score that preference training had cost (Smol Training Playbook, model merging).
"""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from contracts.config import Config, Gate, Later, Placement

Method = Literal["linear", "slerp", "task_arithmetic", "ties", "dare_linear", "dare_ties", "model_stock"]
NEEDS_BASE = ("task_arithmetic", "ties", "dare_linear", "dare_ties", "model_stock")
"""Methods that add differences from a base."""
SCALED: tuple[Method, ...] = ("task_arithmetic", "ties", "dare_linear", "dare_ties")
"""Methods whose combined difference has a factor; model_stock finds its own."""
SPARSE: tuple[Method, ...] = ("ties", "dare_linear", "dare_ties")
"""Methods that keep a share of each difference."""
MOST_MERGES = 32
"""Merges of one panel: every one is made and measured, which costs as much as a parent's measurement."""


class MergeInput(Config):
    """One model of a merge."""

    stage: str
    """Stage the weights come from: `pretrained`, `train-<phase>` (converted for this), `sft-<name>`, `preference-<name>`..."""
    weight: float = Field(default=1.0, gt=0, le=2)
    """Share in an average; factor of the difference from the base in task_arithmetic and DARE; in TIES, which averages the differences that
    agree in sign, only its ratio to the others counts; model_stock finds its own."""
    density: float = Field(default=1.0, gt=0, le=1)
    """Share of the difference that TIES and DARE keep."""


def _with(part: MergeInput, **changed: float) -> MergeInput:
    return part.model_copy(update=changed)


class Candidate(Config):
    """One way to merge."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    """Name in tables."""
    method: Method = "linear"
    """How weights are combined."""
    inputs: list[MergeInput] = Field(min_length=2)
    """What is combined. Tokenizer, chat template and generation settings are those of the first one that has a chat template."""
    base: str = ""
    """Stage whose weights differences are taken from; needed by every method that adds differences."""
    scale: Later[float] = Field(default=1.0, gt=0, le=2)
    """Factor of the combined difference, after TIES has averaged it: task_arithmetic, TIES and DARE."""
    grid: list[float] = Field(default_factory=list)
    """Weights of the first input to try (linear and slerp of two; the second gets what is left of 1): one merge each, `NAME-WEIGHT`."""
    scales: Later[list[float]] = Field([])
    """Scales to try (task_arithmetic, TIES, DARE): one merge each, `NAME-sSCALE`."""
    densities: Later[list[float]] = Field([])
    """Densities to try, for all inputs alike (TIES, DARE): one merge each, `NAME-dDENSITY`; with scales one for each pair of both."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        total = sum(part.weight for part in self.inputs)
        if self.method in ("linear", "slerp") and not self.grid and abs(total - 1) > 1e-6:
            raise ValueError(f"candidate '{self.name}': weights sum to {total:g}, they must sum to 1")
        if self.method == "slerp" and len(self.inputs) != 2:
            raise ValueError(f"candidate '{self.name}': slerp merges exactly two models")
        if self.grid and (len(self.inputs) != 2 or self.method not in ("linear", "slerp")):
            raise ValueError(f"candidate '{self.name}': a grid needs exactly two inputs and method linear or slerp")
        if any(not 0 < weight < 1 for weight in self.grid) or len(set(self.grid)) < len(self.grid):
            raise ValueError(f"candidate '{self.name}': the weights of a grid lie between 0 and 1 and differ")
        self._check_factors()
        if (self.method in NEEDS_BASE) != bool(self.base):
            raise ValueError(f"candidate '{self.name}': `base` belongs to {', '.join(NEEDS_BASE)}, and these need it")
        sources = [part.stage for part in self.inputs]
        if len(set(sources)) < len(sources) or self.base in sources:
            raise ValueError(f"candidate '{self.name}': a stage stands twice among its inputs and its base; each may stand once")
        return self

    def _check_factors(self) -> None:
        """Scales and densities, tried or given, are those of a method that has them, lie in their range, and differ."""
        for word, tried, methods, most in (("scales", self.scales, SCALED, 2), ("densities", self.densities, SPARSE, 1)):
            if tried and self.method not in methods:
                raise ValueError(f"candidate '{self.name}': {self.method} has no {word} to try; {', '.join(methods)} have")
            if any(not 0 < one <= most for one in tried) or len(set(tried)) < len(tried):
                raise ValueError(f"candidate '{self.name}': {word} lie above 0, at most {most}, and differ")
        if self.scale != 1 and (self.method not in SCALED or self.scales):
            raise ValueError(f"candidate '{self.name}': `scale` belongs to {', '.join(SCALED)}, and not beside `scales`")

    def expanded(self) -> list[Self]:
        """The merges it stands for: one for each weight of its grid, each scale and density, named after them; or itself."""
        points, (first, second) = [self], self.inputs[:2]
        if self.grid:
            shares = [(weight, round(1 - weight, 9)) for weight in self.grid]
            points = [self._point(f"{one:g}", inputs=[_with(first, weight=one), _with(second, weight=other)]) for one, other in shares]
        if self.scales:
            points = [point._point(f"s{scale:g}", scale=scale) for point in points for scale in self.scales]
        if self.densities:
            points = [
                point._point(f"d{density:g}", inputs=[_with(part, density=density) for part in point.inputs])
                for point in points
                for density in self.densities
            ]
        return points

    def _point(self, suffix: str, **changed: Any) -> Self:
        return self.model_copy(update={"name": f"{self.name}-{suffix}", "grid": [], "scales": [], "densities": []} | changed)

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
    answers: Literal["greedy", "sampled"] = "greedy"
    """Answers to generated skills by which the panel ranks: the most likely ones, or ones sampled at temperature 1."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the arithmetic."""
    output_dtype: Literal["float32", "bfloat16"] = "bfloat16"
    """Precision of the merged weights on disk."""
    seed: int = 0
    """Seed of what DARE drops."""
    required_tasks: list[str] = Field(default_factory=list)
    """What every model of the panel must be measured on, and by the weakest of which it is ranked: `SKILL` (in every mode), `SKILL/MODE` or
    the name of a task, a long-context one above all. Empty: everything that was measured."""
    max_regression: Gate[float] = Field(default=0.02, ge=0)
    """Largest drop of the weakest skill, against the best parent's weakest, that is accepted; one within its interval is."""
    max_cell_regression: Gate[float] = Field(default=0.25, ge=0, le=1)
    """Largest drop against that parent of anything both were measured on, required or not; the drop's whole interval must lie beyond it.
    Wide, because a merge of specialists gives up the peak of each: 0.22 of one skill at 0.85 M parameters, for 0.43 of another."""
    threads: Placement[int] = Field(default=1, ge=1)
    """Threads of the arithmetic."""

    @model_validator(mode="after")
    def _names(self) -> Self:
        names = [one.name for one in self.merges()] + self.parents
        if len(set(names)) < len(names):
            raise ValueError("two candidates (points of a grid and parents among them) have the same name; names must differ")
        if len(self.merges()) > MOST_MERGES:
            raise ValueError(f"the candidates stand for {len(self.merges())} merges, more than {MOST_MERGES}; each is measured: try fewer")
        return self

    def merges(self) -> list[Candidate]:
        """Every merge to make, grids expanded."""
        return [one for candidate in self.candidates for one in candidate.expanded()]

    @property
    def stages(self) -> list[str]:
        """Every stage whose model a merge or the comparison reads."""
        return list(dict.fromkeys([*self.parents, *(stage for one in self.candidates for stage in one.stages)]))
