"""Arms of a court: every run as a recipe, written as overrides of the recipe it stands in.

An arm's run is an ordinary recipe with one short phase called `arm`, so it can be planned, explained and started by hand like any other.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from contracts.config import digest
from contracts.errors import ConfigError
from models.layout import Layout
from tasks.ablation.config import Court, Modification, Qualification, StepCourt
from tasks.ablation.fields import apply, below, changed, override, position
from tasks.ablation.results import BASELINE
from tasks.ablation.steps import ladder
from tasks.ablation.templates import write
from tasks.training.config import Phase, TrainingConfig

__all__ = ["PHASE", "Arm", "arm_overrides", "arm_phase", "expand", "qualification_overrides"]

PHASE = "arm"
"""Name of the one phase that a run trains for itself."""
CURVE, CURVE_SEQUENCES = 5, 8
"""Points of the held-out curve of a run, and sequences of each source behind a point: it is there to be looked at. Ten points of 16
sequences took a third of the time of a run of 50 steps."""
LONG = 2000
"""Steps between checkpoints of a run that is longer than that."""
_PLAIN = re.compile(r"[a-z0-9.,_+-]{1,24}")


@dataclass(frozen=True)
class Arm:
    """One arm: the baseline, a change, or one point of a sweep."""

    name: str
    """`baseline`, NAME, or NAME[VALUE] and NAME[VALUE,VALUE] of a sweep."""
    modification: Modification | None = None
    """What it tests; none: the baseline."""
    point: dict[str, Any] = field(default_factory=dict)
    """The factor: path -> value."""
    base: dict[str, Any] = field(default_factory=dict)
    """What every run of the court, the baseline's too, has beside the recipe: the accepted set, or the model at target size."""

    @property
    def changes(self) -> dict[str, Any]:
        """Everything that sets it apart from the baseline: the factor, then its compensations."""
        return self.point | (self.modification.compensations if self.modification else {})


def expand(court: Court | StepCourt, recipe: Mapping[str, Any]) -> list[Arm]:
    """Every arm of `court` over `recipe` (as JSON), the baseline first. A point of a sweep that is the baseline itself is no arm beside it.

    Raises:
        ConfigError: a template that does not fit the recipe, or two arms of one name.
    """
    base, written = write(court, recipe) if isinstance(court, Court) else ({}, ladder(court, recipe))
    document = apply(recipe, base)
    arms = [Arm(BASELINE, base=base)]
    for modification in [*court.modifications, *written]:
        tried = [Arm(name, modification, point, base) for name, point in _points(modification)]
        arms += tried if modification.change else [arm for arm in tried if changed(document, apply(document, arm.changes))]
    names = [arm.name for arm in arms]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"court '{court.name}' has two arms called '{twice[0]}'", do="rename a modification, or drop a repeated value")
    return arms


def arm_overrides(arm: Arm, court: Court, recipe: Mapping[str, Any], seed: int) -> list[str]:
    """Overrides that turn `recipe` (as JSON) into the run of `arm` with `seed`.

    The phases before the court's own stay as they are; the phase `arm` follows them, derived from the phase that the court stands before
    once the changes are in. Equal arguments give equal lists, and equal runs have one identity whatever the arm is called.

    Raises:
        ConfigError: the arm changes what the parent of its phase was trained from, or its phase cannot be trained.
    """
    document = apply(recipe, arm.base | arm.changes)
    index = position(court.before, recipe)
    _keeps_the_parent(arm, court, recipe, document, index)
    phase = arm_phase(court, document, index)
    return _run(arm, recipe, seed, phase, index, court.evaluation.model_dump(mode="json"))


def arm_phase(court: Court, document: Mapping[str, Any], index: int) -> Phase:
    """The phase of a run whose recipe, changes included, is `document`: the court's length, layout and schedule, the rest the phase's own.

    Raises:
        ConfigError: no such phase can be trained.
    """
    own = TrainingConfig.parse(document["training"], f"court '{court.name}'").phases[index]
    schedule = own.schedule.model_dump(mode="json")
    if court.shape != "as_phase":
        end = 0.0 if court.shape == "constant" else court.final_fraction
        schedule |= {"shape": court.shape, "final_fraction": end, "final_learning_rate": None}
    if court.warmup_steps is not None:
        schedule["warmup_steps"] = court.warmup_steps
    return _phase(own, court.tokens, schedule, court.layout, f"court '{court.name}'")


def qualification_overrides(
    qualification: Qualification, recipe: Mapping[str, Any], seed: int, checkpoint: int, variant: Modification | None = None
) -> list[str]:
    """Overrides of the seed run that ends at `checkpoint` (1 to `qualification.checkpoints`), of the baseline or of a variant of it.

    The schedule is constant, so that the run of the next checkpoint goes on where this one ended and nothing is trained twice.

    Raises:
        ConfigError: no such checkpoint, a variant that is a sweep, or a phase that cannot be trained.
    """
    if not 1 <= checkpoint <= qualification.checkpoints:
        raise ConfigError(f"no checkpoint {checkpoint} of {qualification.checkpoints}", do="count from 1", where="qualification")
    if variant is not None and variant.sweep:
        raise ConfigError(f"variant '{variant.name}' is a sweep", do="give one change a variant", where="qualification")
    arm = Arm(variant.name, variant, dict(variant.change)) if variant else Arm(BASELINE)
    own = TrainingConfig.parse(apply(recipe, arm.changes)["training"], "qualification").phases[0]
    schedule = own.schedule.model_dump(mode="json") | {"shape": "constant", "final_fraction": 0.0, "final_learning_rate": None}
    steps = max(1, round(qualification.tokens * checkpoint / qualification.checkpoints / own.tokens_per_step))
    phase = _phase(own, steps * own.tokens_per_step, schedule, qualification.layout, "qualification")
    return _run(arm, recipe, seed, phase, 0, qualification.evaluation.model_dump(mode="json"))


def _run(arm: Arm, recipe: Mapping[str, Any], seed: int, phase: Phase, index: int, evaluation: dict[str, Any]) -> list[str]:
    phases = [*recipe["training"]["phases"][:index], phase.model_dump(mode="json")]
    last: dict[str, Any] = {"training.phases": phases, "evaluation": evaluation}
    if index:
        phases[-1]["seed"] = seed  # the phases before keep their seed: all runs go on from one checkpoint
    else:
        last["training.seed"] = seed
    if recipe.get("ablations"):
        last["ablations"] = {}  # an arm holds no court of its own
    return [override(path, value) for path, value in (arm.base | arm.changes | last).items()]


def _phase(own: Phase, tokens: int, schedule: dict[str, Any], layout: Layout, where: str) -> Phase:
    steps = -(-tokens // own.tokens_per_step)
    if steps <= schedule["warmup_steps"]:
        raise ConfigError(
            f"a run of {steps} steps warms up for {schedule['warmup_steps']}: it never reaches its learning rate",
            do="give more tokens, or fewer warmup_steps",
            where=where,
        )
    fields = {
        "name": PHASE,
        "tokens": tokens,
        "schedule": schedule,
        "layout": layout.model_dump(mode="json"),
        "checkpoint_every": min(steps, LONG),
        "evaluate_every": max(1, math.ceil(steps / CURVE)),
        "evaluation_sequences": min(own.evaluation_sequences, CURVE_SEQUENCES),
        "log_every": max(1, min(own.log_every, steps // 100)),
    }
    return Phase.parse(own.model_dump(mode="json") | fields, where)


def _keeps_the_parent(arm: Arm, court: Court, recipe: Mapping[str, Any], document: Mapping[str, Any], index: int) -> None:
    if index == 0:
        return
    phases = [f"training.phases.{number}" for number in range(index, len(recipe["training"]["phases"]))]
    outside = [path for path in changed(recipe, document) if not any(below(path, phase) for phase in phases)]
    if outside:
        parent = recipe["training"]["phases"][index - 1]["name"]
        raise ConfigError(
            f"'{arm.name}' changes {', '.join(outside)}, which phase '{parent}' was trained with",
            do=f"stand this court before the first phase, or change only training.phases.{court.before} and later phases",
            where=f"court '{court.name}'",
        )


def _points(modification: Modification) -> list[tuple[str, dict[str, Any]]]:
    """(name of the arm, path -> value) of every point."""
    if modification.change:
        return [(modification.name, dict(modification.change))]
    labels = [_labels(values) for values in modification.sweep.values()]
    names = [f"{modification.name}[{','.join(parts)}]" for parts in itertools.product(*labels)]
    values = itertools.product(*modification.sweep.values())
    return [(name, dict(zip(modification.sweep, point, strict=True))) for name, point in zip(names, values, strict=True)]


def _labels(values: Sequence[Any]) -> list[str]:
    """Short names of an axis's values, safe in a file's name; where short ones would be equal or unsafe, digests."""
    labels = [_label(value, values) for value in values]
    safe = len(set(labels)) == len(labels) and all(_PLAIN.fullmatch(label) for label in labels)
    return labels if safe else [digest(value)[:8] for value in values]


def _label(value: Any, axis: Sequence[Any]) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "on", False: "off", None: "none"}[value]
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, dict):  # a mixture: the first share that is not the same in all of them
        others = [other for other in axis if isinstance(other, dict)]
        key = next((key for key in value if any(other.get(key) != value[key] for other in others)), next(iter(value), ""))
        return f"{key}-{_label(value.get(key), [])}"
    return str(value).lower()
