"""What the stage `court-NAME` is given beside the folders of its runs: the case as it was preregistered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from pydantic import Field, model_validator

from contracts.config import Config, Placement
from models.config import ModelConfig
from tasks.ablation.config import Case, Court, Modification, StepCourt
from tasks.ablation.results import BASELINE
from tasks.training.config import OptimizerConfig, Phase

__all__ = ["ArmRequest", "Compared", "Hearing", "JudgeRequest", "StepJudgeRequest", "run_name"]


class Compared(Config):
    """One arm of any court."""

    name: str
    """`baseline`, a modification's name, or a point of a sweep (NAME[VALUE] or NAME[VALUE,VALUE])."""
    modification: str = ""
    """Modification it tests; empty: the baseline."""
    point: dict[str, Any] = Field({})
    """Its factor: fields of the recipe and their values; of a sweep one value of each axis."""
    changes: dict[str, Any] = Field({})
    """Everything that differs from the baseline's recipe: the factor and its compensations."""


class ArmRequest(Compared):
    """One arm as it was trained."""

    model: ModelConfig
    """Its model."""
    phase: Phase
    """The phase that its runs trained."""
    optimizer: OptimizerConfig = OptimizerConfig()
    """Its optimizer."""


class Hearing(Config):
    """What the body of the stage `court-NAME` is given of any court.

    The inputs' roles are run names: `ARM.SEED` is the folder of the run's measurement, `ARM.SEED.train` that of its training artifact. A
    run has either both or, left out by a person (`court.left_out`), none.
    """

    court: Case
    """The court, its template's modifications written out in `modifications`."""
    before: str
    """What it stands before."""
    arms: Sequence[Compared]
    """The baseline first, then the arms in the order of the table."""
    modifications: list[Modification] = Field([])
    """What is tested, the template's own too; empty: the court's."""
    votes: dict[str, str] = Field({})
    """Metric -> why it may decide (qualified, or waived with a reason)."""
    reported: dict[str, str] = Field({})
    """Metric -> why it is only reported."""
    baseline: dict[str, Any] = Field({})
    """Fields of the baseline that the arms change: path -> value."""
    size: str = ""
    """What the verdicts hold for, in words; empty: parameters of the baseline, and what it was trained on."""
    settled: dict[str, str] = Field({})
    """Modifications decided by earlier courts: name -> accepted, rejected or tested; dependencies are looked up there too."""
    recipe: Placement[dict[str, Any]] = Field({})
    """The recipe as JSON as it stands before this court; with what is accepted it is written as resolved.yaml. Empty: it is not."""
    manifests: Placement[dict[str, dict[str, Any]]] = Field({})
    """Role -> manifest of that artifact: versions, machine, cost and figures of the run. Optional, and no part of the identity."""

    @property
    def tested(self) -> list[Modification]:
        """The modifications of the case."""
        return self.modifications or self.court.modifications

    @model_validator(mode="after")
    def _fits(self) -> Self:
        names = [arm.name for arm in self.arms]
        if len(names) < 2 or names[0] != BASELINE or len(set(names)) < len(names):
            raise ValueError(f"a court compares '{BASELINE}', given first, with one arm or more; given: {', '.join(names)}")
        known = {one.name for one in self.tested}
        for arm in self.arms[1:]:
            if arm.modification not in known:
                raise ValueError(f"arm '{arm.name}' tests '{arm.modification}', which is no modification of the court")
        return self


class JudgeRequest(Hearing):
    """Body config of a court before a phase: evaluations hold scores.json, trainings metrics.jsonl, state.json and training.json."""

    court: Court
    """The court, its template's modifications written out in `modifications`."""
    arms: list[ArmRequest]
    """The baseline first, then the arms in the order of the table."""

    @property
    def baseline_arm(self) -> ArmRequest:
        """The arm that every other one is compared with."""
        return self.arms[0]


class StepJudgeRequest(Hearing):
    """Body config of a court before a step after pretraining: measurements hold skills.json, trainings metrics.jsonl and training.json."""

    court: StepCourt
    """The court, its template's modifications written out in `modifications`."""
    arms: list[Compared]
    """The baseline first, then the arms in the order of the table."""
    parameters: int
    """Of the model that the step trains."""
    required: list[str] = Field([])
    """Cells (SKILL/MODE) that accuracy/required/DECODING is the mean of."""


def run_name(arm: str, seed: int) -> str:
    """`ARM.SEED`, the role of a run's evaluation and its name for a person."""
    return f"{arm}.{seed}"
