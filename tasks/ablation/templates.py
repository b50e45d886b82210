"""Sweeps that are always asked in the same way, written as modifications (Smol Training Playbook, ablation framework, data curation)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from contracts.config import nearest
from contracts.errors import ConfigError
from tasks.ablation.config import Court, Modification, Template
from tasks.ablation.fields import apply, found, position
from tasks.training.config import Phase, TrainingConfig

__all__ = ["write"]

Written = tuple[dict[str, Any], list[Modification]]


def write(court: Court, recipe: Mapping[str, Any]) -> Written:
    """(changes that every run of the court has, modifications) of the court's template over `recipe` (as JSON); nothing without one.

    Raises:
        ConfigError: the template lacks something, or names a source or phase that the recipe does not have.
    """
    template = court.template
    if template is None:
        return {}, []
    index = position(court.before, recipe)
    phase = TrainingConfig.parse(recipe["training"], f"court '{court.name}'").phases[index]
    match template.kind:
        case "learning_rate":
            return {}, [_learning_rate(template, phase, recipe, index)]
        case "learning_rate_x_batch":
            return {}, [
                _learning_rate_x_batch(template, phase, recipe, index, court.layout.micro_batch_size * court.layout.data_parallel_size)
            ]
        case "mixture_ratio":
            return {}, [_mixture_ratio(template, phase, recipe)]
        case "share":
            return {}, [_share(template, phase, recipe)]
        case "annealing":
            return {}, _annealing(template, phase, recipe, court, index)
        case "leave_one_out":
            return _leave_one_out(template, recipe)
        case "target_size":
            return _target_size(template)


def _learning_rate(template: Template, phase: Phase, recipe: Mapping[str, Any], index: int) -> Modification:
    rate = phase.schedule.learning_rate
    values = [_round(rate * factor) for factor in template.multipliers if factor != 1]
    return Modification(
        name="learning-rate",
        hypothesis=f"the best peak learning rate may not be {rate:g}: a bracket around it shows on which side it lies",
        sweep={_everywhere(recipe, index, phase, "schedule.learning_rate"): values},
        tolerance=template.tolerance,
    )


def _learning_rate_x_batch(template: Template, phase: Phase, recipe: Mapping[str, Any], index: int, multiple: int) -> Modification:
    """A grid, both axes with the phase's own value: no rule scales the rate with the batch here, the grid shows which one would."""
    rate, batch = phase.schedule.learning_rate, phase.global_batch_size
    rates = [_round(rate * factor) for factor in sorted({*template.multipliers, 1.0})]
    batches = sorted({batch, *(max(multiple, round(batch * factor / multiple) * multiple) for factor in template.batch_multipliers)})
    return Modification(
        name="learning-rate-x-batch",
        hypothesis=f"the best learning rate moves with the batch size: {rate:g} at {batch} sequences may not be the best pair",
        sweep={
            _everywhere(recipe, index, phase, "schedule.learning_rate"): rates,
            _everywhere(recipe, index, phase, "global_batch_size"): batches,
        },
        tolerance=template.tolerance,
    )


def _mixture_ratio(template: Template, phase: Phase, recipe: Mapping[str, Any]) -> Modification:
    first, second = _sources(template, recipe, 2)
    shares = phase.shares
    both = shares.get(first, 0.0) + shares.get(second, 0.0)
    if not both:
        raise ConfigError(
            f"phase '{phase.name}' mixes neither '{first}' nor '{second}'", do="name sources of its mixture", where="template mixture_ratio"
        )
    rest = {name: share for name, share in shares.items() if name not in (first, second)}
    return Modification(
        name="mixture-ratio",
        hypothesis=f"the share of '{first}' within '{first}' and '{second}' ({shares.get(first, 0.0) / both:.2f} now) has a better value",
        sweep={_mixture(phase): [_mix({first: share * both, second: (1 - share) * both} | rest) for share in template.shares]},
        tolerance=template.tolerance,
    )


def _share(template: Template, phase: Phase, recipe: Mapping[str, Any]) -> Modification:
    (source,) = _sources(template, recipe, 1)
    old = phase.shares.get(source, 0.0)
    if old == 1:
        raise ConfigError(f"phase '{phase.name}' has no source but '{source}'", do="name a second source", where="template share")
    mixtures = [
        _mix({source: share} | {name: one * (1 - share) / (1 - old) for name, one in phase.shares.items() if name != source})
        for share in template.shares
    ]
    return Modification(
        name=_slug("share", source),
        hypothesis=f"the share of '{source}' ({old:.2f} now) has a better value, the other sources scaled to make room",
        sweep={_mixture(phase): mixtures},
        tolerance=template.tolerance,
    )


def _annealing(template: Template, phase: Phase, recipe: Mapping[str, Any], court: Court, index: int) -> list[Modification]:
    """Each candidate on its own, the unchanged mixture as the baseline (Smol Training Playbook, data curation: 60 % candidate)."""
    shape = phase.schedule.shape if court.shape == "as_phase" else court.shape
    if index == 0 or shape == "constant":
        raise ConfigError(
            "an annealing ablation decays the learning rate from a checkpoint",
            do="set `before` to a phase that has one before it, and a shape that decays",
            where=f"court '{court.name}'",
        )
    part = template.candidate_share
    return [
        Modification(
            name=_slug("annealing", source),
            hypothesis=f"decaying on {part:.0%} of '{source}' and {1 - part:.0%} of today's mixture gives a better model than that mixture",
            change={
                _mixture(phase): _mix(
                    {
                        name: (1 - part) * phase.shares.get(name, 0.0) + (part if name == source else 0.0)
                        for name in dict.fromkeys([source, *phase.shares])
                    }
                )
            },
            tolerance=template.tolerance,
        )
        for source in _sources(template, recipe)
    ]


def _leave_one_out(template: Template, recipe: Mapping[str, Any]) -> Written:
    """The baseline is the recipe with the whole accepted set; arm `without-X` gives X's fields back their values without X.

    So the recipe given is the one from before the set: what was overwritten there is the only record of what to go back to.
    """
    whole = _set(template)
    written = []
    for one in template.accepted:
        others = {path: value for other in template.accepted if other is not one for path, value in _changes(other).items()}
        before = apply(recipe, others)
        back = [(path, value) for path in _changes(one) for path, value in _compact(path, found(before, path))]
        (path, value), *rest = back
        written.append(
            Modification(
                name=f"without-{one.name}"[:41].rstrip("-"),
                hypothesis=f"'{one.name}' still earns its place beside the other {len(template.accepted) - 1} accepted changes",
                change={path: value},
                compensations=dict(rest),
                why_compensated=f"'{one.name}' came with them" if rest else "",
                tolerance=template.tolerance,
            )
        )
    return whole, written


def _target_size(template: Template) -> Written:
    """The baseline is the recipe with the model at target size; the one arm has the whole set, its first field standing as the factor."""
    if not template.model:
        raise ConfigError(
            "a re-check at target size needs the target", do="give the model's fields in `model`", where="template target_size"
        )
    (path, value), *rest = _set(template).items()
    names = ", ".join(one.name for one in template.accepted)
    modification = Modification(
        name="accepted-set",
        hypothesis=f"what was accepted at the small size ({names}) holds at the target size",
        change={path: value},
        compensations=dict(rest),
        why_compensated="the set is judged as one" if rest else "",
        tolerance=template.tolerance,
    )
    return {f"model.{name}": value for name, value in template.model.items()}, [modification]


def _set(template: Template) -> dict[str, Any]:
    if not template.accepted:
        raise ConfigError("there is no accepted set", do="give the accepted modifications in `accepted`", where=f"template {template.kind}")
    return {path: value for one in template.accepted for path, value in _changes(one).items()}


def _changes(modification: Modification) -> dict[str, Any]:
    if modification.sweep:
        raise ConfigError(
            f"'{modification.name}' is a sweep, and one of its points was accepted", do="write that point as a change", where="template"
        )
    return modification.change | modification.compensations


def _compact(path: str, values: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The path with one value where everything it stands for has the same, else each concrete path with its own."""
    first = next(iter(values.values()), None)
    return [(path, first)] if all(value == first for value in values.values()) else list(values.items())


def _everywhere(recipe: Mapping[str, Any], index: int, phase: Phase, name: str) -> str:
    """The field in every phase, where all have the same value and none is trained yet; else in the court's own."""
    path = f"training.phases.*.{name}"
    (_, first), *rest = found(recipe, path).items()
    return path if index == 0 and all(value == first for _, value in rest) else f"training.phases.{phase.name}.{name}"


def _sources(template: Template, recipe: Mapping[str, Any], number: int | None = None) -> Sequence[str]:
    where = f"template {template.kind}"
    wanted = "at least one" if number is None else str(number)
    if not template.sources or (number is not None and len(set(template.sources)) != number):
        raise ConfigError(f"{wanted} source(s) are asked for, {len(template.sources)} given", do="set `sources`", where=where)
    known = [source["name"] for source in recipe["data"]["sources"]]
    for source in template.sources:
        if source not in known:
            raise ConfigError(f"no source '{source}'{nearest(source, known)}", do="name a source of data.sources", where=where)
    return template.sources


def _mixture(phase: Phase) -> str:
    return f"training.phases.{phase.name}.mixture"


def _mix(shares: Mapping[str, float]) -> dict[str, float]:
    return {name: _round(share) for name, share in shares.items()}


def _round(value: float) -> float:
    """Six significant digits: what a person would have typed, and one identity however it was computed."""
    return float(f"{value:.6g}")


def _slug(kind: str, source: str) -> str:
    return f"{kind}-{re.sub(r'[^a-z0-9]+', '-', source.lower())}"[:41].strip("-")
