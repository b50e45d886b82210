"""One factor an arm (C01), of a court over a step after pretraining: said before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from contracts.config import identity, nearest
from contracts.errors import ConfigError
from tasks.ablation.arms import Arm, expand
from tasks.ablation.config import StepCourt
from tasks.ablation.factors import dependencies, unknown_runs
from tasks.ablation.fields import CourtRecipe, below, changed, found, override
from tasks.ablation.step_runs import DECODINGS, POOLED, REQUIRED
from tasks.ablation.steps import field_of
from tasks.evaluation import ACCURACY
from tasks.posttraining.config import ChatEvaluation

__all__ = ["check_step", "metrics_of", "required_cells"]

OF_THE_COURT = {"seed": "`seeds` of the court", "name": "the step it stands before", "parent": "where the step begins"}
"""Fields of a step that are no factors."""


def check_step(court: StepCourt, recipe: CourtRecipe, settled: Mapping[str, str] | None = None) -> list[Arm]:
    """Every arm of `court`, the baseline first, if each is the step with exactly one setting changed and its compensations declared.

    Args:
        settled: modification -> accepted, rejected or tested, as decided so far; unset: not known yet, so nothing is said of it.

    Raises:
        ConfigError: one sentence for everything that is wrong with the court, all at once.
    """
    document = recipe.model_dump(mode="json")
    arms = expand(court, document)
    problems = [*unknown_runs(court, arms), *dependencies(court, settled), *_metric(court, document)]
    if len(arms) == 1:
        problems.append("nothing is left to compare: every value is the step's own")
    for arm in arms[1:]:
        problems += [f"'{arm.name}' {problem}" for problem in _factor(arm, court, recipe)]
    if problems:
        raise ConfigError("; ".join(problems), do="correct what each sentence names", where=f"court '{court.name}'")
    return arms


def metrics_of(recipe: Mapping[str, Any]) -> list[str]:
    """What may decide over `recipe` (as JSON): every mean and every cell that its measurements have."""
    evaluation = _evaluation(recipe)
    skills, tasks = (
        [cell for cell in evaluation.cells() if (cell.partition("/")[0] in evaluation.skills) == of_skills] for of_skills in (True, False)
    )
    names = [*([POOLED] if skills else []), *([REQUIRED] if required_cells(recipe) else []), *skills]
    return [f"{ACCURACY}/{name}/{decoding}" for name in names for decoding in DECODINGS] + [f"{ACCURACY}/{task}" for task in tasks]


def required_cells(recipe: Mapping[str, Any]) -> list[str]:
    """Cells of `recipe` (as JSON) that a merge would be judged by, where measurements have all of them; else none."""
    wanted = list((recipe.get("merging") or {}).get("required_tasks", []))
    return wanted if set(wanted) <= set(_evaluation(recipe).cells()) else []


def _evaluation(recipe: Mapping[str, Any]) -> ChatEvaluation:
    return ChatEvaluation.parse(recipe["posttraining"]["evaluation"], "posttraining.evaluation")


def _metric(court: StepCourt, recipe: Mapping[str, Any]) -> Iterator[str]:
    known = metrics_of(recipe)
    if court.metric not in known:
        yield f"metric '{court.metric}' is measured by nothing after pretraining{nearest(court.metric, known)}"


def _factor(arm: Arm, court: StepCourt, recipe: CourtRecipe) -> Iterator[str]:
    own = field_of(court.stage)
    before = recipe.model_dump(mode="json")
    (place,) = found(before, own)
    try:
        resolved = recipe.override([override(path, value) for path, value in arm.changes.items()])
    except ConfigError as error:
        yield f"is no recipe: {error.what}"
        return
    after = resolved.model_dump(mode="json")
    differing = changed(before, after)
    if not differing:
        yield "changes nothing: the step has that already"
        return
    outside = [path for path in differing if not below(path, place)]
    if outside:
        yield f"changes {', '.join(outside)}, which is no part of {court.stage}: a court judges one step at a time, by fields of {own}"
        return
    for name, why in OF_THE_COURT.items():
        if f"{place}.{name}" in differing:
            yield f"changes {own}.{name}: {why} is no factor"
            return
    if _trained(place, recipe) == _trained(place, resolved):
        yield "changes nothing that is trained: placement and gates are no factors"
    yield from _undeclared(arm, before, after, differing)
    yield from _several(arm, before, after, differing)


def _trained(place: str, recipe: CourtRecipe) -> Any:
    """Everything of the step that changes its weights."""
    section, kind, index = place.split(".")
    return identity(recipe)[section][kind][int(index)]


def _undeclared(arm: Arm, before: Mapping[str, Any], after: Mapping[str, Any], differing: Sequence[str]) -> Iterator[str]:
    declared = [path for told in arm.changes for document in (before, after) for path in found(document, told)]
    hidden = [path for path in differing if not any(below(path, one) for one in declared)]
    if hidden:
        yield f"also changes {', '.join(hidden)}: declare it as a compensation"


def _several(arm: Arm, before: Mapping[str, Any], after: Mapping[str, Any], differing: Sequence[str]) -> Iterator[str]:
    """Of a sweep each axis is a factor. What a step lacks or has as a whole (adapters) is one field, and so is a list (its sources)."""
    for told in arm.point:
        for path, value in found(after, told).items():
            if value is None or isinstance(value, list) or found(before, path) == {path: None}:
                continue
            fields = sorted(one for one in differing if below(one, path))
            if len(fields) > 1:
                yield f"changes {len(fields)} things ({', '.join(fields)}): one is the factor, the others are compensations"
