"""The ablation section of a recipe: courts that decide single changes before something is trained, and the qualification of their tasks.

Smol Training Playbook, ablation framework: one change at a time against a baseline, enough tokens and seeds, a verdict against measured
noise, and an accepted change becomes part of the next baseline.
"""

from __future__ import annotations

import re
from graphlib import CycleError, TopologicalSorter
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from contracts.config import Config, Gate, Placement, digest
from models.layout import Layout
from tasks.evaluation.config import EvaluationConfig
from tasks.posttraining.config import Lora

__all__ = [
    "AblationsConfig",
    "Backlog",
    "Benefit",
    "Budget",
    "Case",
    "Court",
    "Modification",
    "Qualification",
    "StepCourt",
    "StepTemplate",
    "Template",
]

Benefit = Literal["quality", "speed", "memory", "stability"]
_NAME = r"[a-z0-9][a-z0-9-]{0,40}"


class Modification(Config):
    """One proposed change of the baseline: what is expected of it, and what it may cost."""

    name: str
    """Short name; names the arm."""
    hypothesis: str = Field(min_length=1)
    """What is expected to happen, and why; written down before it is tested."""
    benefit: Benefit = "quality"
    """quality: accepted when it is better. The others: accepted when it brings that and is not worse by more than `tolerance`."""
    tolerance: float = Field(default=0.02, gt=0)
    """Smallest difference that matters, in units of the court's metric; for the other benefits the largest loss that is accepted."""
    change: dict[str, Any] = Field({})
    """The one factor: a field of the recipe and its new value. `*` stands for every element of a list (training.phases.*.schedule...)."""
    sweep: dict[str, list[Any]] = Field({})
    """In place of `change`: one or two fields, each with the values to try; every combination is an arm."""
    compensations: dict[str, Any] = Field({})
    """Fields that must move with the factor to keep the comparison fair (parameters, or the learning rate of another optimizer)."""
    why_compensated: str = ""
    """Why they must; asked for when there are any."""
    depends_on: list[str] = Field([])
    """Modifications that must be accepted before this one makes sense."""

    @field_validator("name")
    @classmethod
    def _plain_name(cls, name: str) -> str:
        return _plain(name)

    @model_validator(mode="after")
    def _one_factor(self) -> Self:
        if bool(self.change) == bool(self.sweep):
            raise ValueError(f"'{self.name}' needs either a change or a sweep")
        if len(self.change) > 1:
            fields = ", ".join(self.change)
            raise ValueError(f"'{self.name}' changes {len(self.change)} things ({fields}); one is the factor, the others are compensations")
        if len(self.sweep) > 2:
            raise ValueError(f"'{self.name}' sweeps over {len(self.sweep)} fields; one or two can be read")
        if any(not values for values in self.sweep.values()):
            raise ValueError(f"'{self.name}' sweeps over no values")
        if self.compensations and not self.why_compensated:
            raise ValueError(f"'{self.name}' has compensations; say in why_compensated what they keep equal")
        return self

    @property
    def digest(self) -> str:
        """Identity of what is tested: change, sweep and compensations; name, hypothesis and tolerance may be rewritten."""
        return digest({"change": self.change, "sweep": self.sweep, "compensations": self.compensations})


class Template(Config):
    """A sweep that is always asked in the same way; it writes the modifications itself."""

    kind: Literal["learning_rate", "learning_rate_x_batch", "mixture_ratio", "share", "annealing", "leave_one_out", "target_size"]
    """learning_rate: bracket around the phase's own; mixture_ratio: two sources; share: of one source, the others scaled; annealing: decay
    on 40 % of today's mixture and 60 % of `sources`; leave_one_out: of the accepted set; target_size: the accepted set on `model`."""
    multipliers: list[float] = Field([0.1, 0.3, 3.0, 10.0])
    """learning_rate: factors of the phase's own rate."""
    batch_multipliers: list[float] = Field([0.5, 2.0])
    """learning_rate_x_batch: factors of the phase's own batch."""
    sources: list[str] = Field([])
    """mixture_ratio: two; share: one; annealing: the candidates, each an arm."""
    shares: list[float] = Field([0.1, 0.3, 0.5, 0.7, 0.9])
    """mixture_ratio: share of the first source in the two; share: of the source in the whole."""
    candidate_share: float = Field(default=0.6, gt=0, le=1)
    """annealing: share of the candidate (Smol Training Playbook, data curation)."""
    accepted: list[Modification] = Field([])
    """leave_one_out, target_size: the set that was accepted."""
    model: dict[str, Any] = Field({})
    """target_size: fields of the model at the target size."""
    tolerance: float = Field(default=0.02, gt=0)
    """Of every modification that it writes."""


class StepTemplate(Config):
    """A sweep over one setting of a step after pretraining."""

    kind: Literal["learning_rate", "epochs", "pairs", "beta"]
    """learning_rate, epochs: of any step that has one; pairs: how many of its pairs a preference step trains on; beta: its pull to the
    reference."""
    values: list[float] = Field([])
    """What is tried; unset: the playbook's own grid for such a step. The baseline's value is left out of it."""
    multipliers: list[float] = Field([])
    """learning_rate: in place of `values`, factors of the step's own rate."""
    lora: Lora | None = None
    """learning_rate, of supervised fine-tuning: every rate, the step's own too, is tried with these adapters as well as without."""
    tolerance: float = Field(default=0.02, gt=0)
    """Of the modification that it writes."""


class Budget(Config):
    """What a court may spend."""

    device_hours: float | None = Field(default=None, gt=0)
    """Of all its runs together; unset: no limit but the compass's."""
    minimum_tokens: int = Field(default=1, ge=1)
    """Fewest tokens of an arm that this project takes for evidence; of a step after pretraining the length is its own."""


class Case(Config):
    """What every court has: single changes of one baseline, seeds, and the terms of the verdict."""

    name: str = "main"
    """Short name: the stage is court-NAME."""
    modifications: list[Modification] = Field([])
    """What is tested."""
    template: Template | StepTemplate | None = None
    """A sweep to write modifications from, beside those."""
    seeds: list[int] = Field([0, 1])
    """Seeds of every arm; the baseline's are shared with other courts of the same baseline."""
    metric: str
    """What decides."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """Of the whole court: intervals are simultaneous over its arms."""
    power: float = Field(default=0.8, gt=0.5, lt=1)
    """Power at which an under-powered verdict says how many seeds would decide."""
    pairing: Literal["none", "seed"] = "none"
    """seed: differences are taken between runs of the same seed; settled before the run, since choosing the narrower one is no test."""
    left_out: dict[str, str] = Field({})
    """Runs that a person gives up on, `ARM.SEED`, each with the reason; the table keeps them as missing."""
    budget: Gate[Budget] = Budget()
    """What it may spend."""
    parallel: Placement[int] = Field(default=0, ge=0)
    """Runs side by side where they run in this process; 0: one per processor."""

    @field_validator("name")
    @classmethod
    def _plain_name(cls, name: str) -> str:
        return _plain(name)

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if not self.modifications and self.template is None:
            raise ValueError(f"court '{self.name}' tests nothing: give modifications or a template")
        names = [one.name for one in self.modifications]
        twice = sorted({name for name in names if names.count(name) > 1} | ({"baseline"} & set(names)))
        if twice:
            raise ValueError(f"court '{self.name}' has two arms called '{twice[0]}'")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"court '{self.name}' needs at least one seed, and each once")
        return self


class Court(Case):
    """One court before a phase: the baseline and every arm, trained alike but for one factor, and judged."""

    before: str | None = None
    """Phase before which it stands, and whose mixture, schedule and batch its arms take; unset: the first."""
    template: Template | None = None
    """A sweep to write modifications from, beside those."""
    tokens: int = Field(gt=0)
    """Tokens of every run."""
    metric: str = "bits_per_byte"
    """What decides: bits_per_byte (mean of the sources), bits_per_byte/SOURCE or accuracy/TASK."""
    shape: Literal["as_phase", "constant", "cosine", "linear", "one_minus_sqrt"] = "linear"
    """Schedule of every run over its tokens; its peak is the phase's own. as_phase: the phase's own schedule."""
    warmup_steps: int | None = Field(default=None, ge=0)
    """Steps of warm-up; unset: the phase's own."""
    final_fraction: float = Field(default=0.0, ge=0, le=1)
    """Last learning rate as a share of the peak."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """What every run is measured with; its backend decides whether it is converted first."""
    layout: Placement[Layout] = Layout()
    """Layout of every run."""

    @model_validator(mode="after")
    def _long_enough(self) -> Self:
        if self.tokens < self.budget.minimum_tokens:
            raise ValueError(
                f"court '{self.name}' gives an arm {self.tokens:,} tokens; this project asks for {self.budget.minimum_tokens:,}"
            )
        return self


class StepCourt(Case):
    """One court before a step after pretraining: the step itself with one setting changed, each run followed by its measurement."""

    stage: str
    """The step it stands before and judges, for example `sft-main`; what it accepts is what that step trains."""
    template: StepTemplate | None = None
    """A sweep to write a modification from, beside those."""
    metric: str = "accuracy/all/greedy"
    """What decides, of answers to held-out items: accuracy/all/DECODING (mean over skills and modes), accuracy/required/DECODING (over
    `merging.required_tasks`) or one cell: accuracy/SKILL/MODE/DECODING, accuracy/TASK[/MODE]. DECODING is greedy or sampled."""

    @model_validator(mode="after")
    def _only_quality(self) -> Self:
        other = next((one for one in self.modifications if one.benefit != "quality"), None)
        if other is not None:
            raise ValueError(f"court '{self.name}' judges answers, not the {other.benefit} that '{other.name}' is to bring")
        return self


class Qualification(Config):
    """Which tasks may vote (Smol Training Playbook, early-signal tasks; bounds of FineTasks)."""

    tokens: int = Field(gt=0)
    """Tokens of every run."""
    checkpoints: int = Field(default=5, ge=2)
    """Points of the curve, evenly spaced in tokens; the schedule is constant, so nothing is trained twice."""
    seeds: list[int] = Field([0, 1, 2, 3], min_length=2)
    """Seeds of the baseline."""
    variants: list[Modification] = Field([])
    """Other models to order, for ordering consistency."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """The suite to qualify."""
    monotonicity: Gate[float] = 0.5
    """Least mean Spearman correlation of score and step."""
    signal_to_noise: Gate[float] = 20.0
    """Least mean over steps of (mean / standard deviation over seeds)."""
    above_random: Gate[float] = 3.0
    """Least distance of the best final score from chance, in standard deviations."""
    layout: Placement[Layout] = Layout()
    """Layout of every run."""
    parallel: Placement[int] = Field(default=0, ge=0)
    """As of a court."""


class AblationsConfig(Config):
    """Courts of a recipe, and the qualification that says which tasks vote in them."""

    qualification: Qualification | None = None
    """Unset: nothing is qualified, and a court needs the waiver `qualification`, with a reason, to let its metric vote."""
    courts: list[Court] = Field([])
    """In the order in which they are held; a court reads what the ones before it accepted."""
    steps: list[StepCourt] = Field([])
    """Courts before steps after pretraining."""

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        names = [court.name for court in [*self.courts, *self.steps]]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two courts are called '{twice[0]}'")
        return self


class Backlog(Config):
    """Modifications waiting for a court. What became of each is read from the courts' artifacts, never written here."""

    modifications: list[Modification] = Field(min_length=1)
    """In the order in which they are to be tested: the most battle-tested first."""

    @model_validator(mode="after")
    def _known_dependencies(self) -> Self:
        names = [one.name for one in self.modifications]
        if len(set(names)) < len(names):
            raise ValueError("two modifications of the backlog have the same name")
        for one in self.modifications:
            unknown = [name for name in one.depends_on if name not in names or name == one.name]
            if unknown:
                raise ValueError(f"'{one.name}' depends on '{unknown[0]}', which is not in the backlog")
        try:
            TopologicalSorter({one.name: one.depends_on for one in self.modifications}).prepare()
        except CycleError as error:
            raise ValueError(f"these wait for each other: {' -> '.join(error.args[1])}") from None
        return self


def _plain(name: str) -> str:
    if not re.fullmatch(_NAME, name):
        raise ValueError("use lower-case letters, digits and dashes, starting with a letter or digit")
    return name
