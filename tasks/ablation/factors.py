"""One factor an arm (C01): what a court may change, said before anything is trained (Smol Training Playbook, ablation framework)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from contracts.config import identity, nearest
from contracts.errors import ConfigError
from models.config import ModelConfig
from tasks.ablation.arms import Arm, arm_overrides, expand
from tasks.ablation.config import Case, Court
from tasks.ablation.fields import CourtRecipe, below, changed, found, override
from tasks.ablation.request import run_name

__all__ = ["check", "dependencies", "trained", "unknown_runs"]

TRAINED = ("model", "data", "tokenizer", "training")
"""Sections that a run is trained from; a factor lies in one of them."""
OF_THE_COURT = {"training.seed": "seeds"}
"""Fields of those that the court sets itself."""


def check(court: Court, recipe: CourtRecipe, settled: Mapping[str, str] | None = None) -> list[Arm]:
    """Every arm of `court`, the baseline first, if each is the baseline with exactly one factor changed and its compensations declared.

    Args:
        settled: modification -> accepted, rejected or tested, as decided so far; unset: not known yet, so nothing is said of it.

    Raises:
        ConfigError: one sentence for everything that is wrong with the court, all at once.
    """
    document = recipe.model_dump(mode="json")
    arms = expand(court, document)
    problems = [*_of_the_court(court, recipe, arms), *dependencies(court, settled)]
    try:
        plain = recipe.override([override(path, value) for path, value in arms[0].base.items()])
        baseline = trained(arms[0], court, recipe)
    except ConfigError as error:
        problems.append(f"the baseline is no recipe: {error.what}")
    else:
        problems += [f"the baseline {problem}" for problem in _too_short(court, baseline)]
        for arm in arms[1:]:
            outside = [path for path in arm.changes if (section := path.split(".")[0]) in document and section not in TRAINED]
            if outside:
                problems.append(
                    f"'{arm.name}' changes {', '.join(outside)}, which is no part of what is trained ({', '.join(TRAINED)} are)"
                )
            else:
                problems += [f"'{arm.name}' {problem}" for problem in _factor(arm, court, recipe, plain, baseline)]
    if problems:
        raise ConfigError("; ".join(problems), do="correct what each sentence names", where=f"court '{court.name}'")
    return arms


def trained(arm: Arm, court: Court, recipe: CourtRecipe) -> dict[str, Any]:
    """Everything of the run of `arm` that changes its weights, as JSON; two arms that are equal here are one run.

    Raises:
        ConfigError: there is no such run.
    """
    document = identity(recipe.override(arm_overrides(arm, court, recipe.model_dump(mode="json"), court.seeds[0])))
    return {section: document[section] for section in TRAINED}


def _factor(arm: Arm, court: Court, recipe: CourtRecipe, plain: CourtRecipe, baseline: Mapping[str, Any]) -> Iterator[str]:
    """`plain`: the recipe of the baseline; `baseline`: what its run is trained from."""
    own = [path for path in arm.changes if path in OF_THE_COURT]
    if own:
        yield f"changes {own[0]}, which the court sets itself: give it `{OF_THE_COURT[own[0]]}`"
        return
    try:
        resolved = plain.override([override(path, value) for path, value in arm.changes.items()])
        run = trained(arm, court, recipe)
    except ConfigError as error:
        yield f"is no recipe: {error.what}"
        return
    before, after = _with_derived(plain), _with_derived(resolved)
    differing = changed(before, after)
    if not differing:
        yield f"changes nothing: {_values(found(before, next(iter(arm.point))))} already"
        return
    yield from _undeclared(arm, before, after, differing)
    yield from _one_field(arm, after, differing)
    if run == baseline:
        yield (
            "changes nothing that is trained: placement, gates, other phases, and the length and schedule that the court sets are no "
            "factors (shape: as_phase leaves the schedule to the phase)"
        )
    if _undecayed(run) != _undecayed(baseline):
        yield "compares a run whose learning rate decays with one whose rate does not: decay both"
    if _tokens_per_step(run) != _tokens_per_step(baseline):
        yield from _too_short(court, run)


def _of_the_court(court: Court, recipe: CourtRecipe, arms: Sequence[Arm]) -> Iterator[str]:
    metrics = ["bits_per_byte", *(f"bits_per_byte/{source.name}" for source in recipe.data.sources)]
    metrics += [f"accuracy/{task}" for task in court.evaluation.chosen_suite().tasks]
    if court.metric not in metrics:
        yield f"metric '{court.metric}' is measured by no task of its evaluation{nearest(court.metric, metrics)}"
    yield from unknown_runs(court, arms)


def unknown_runs(court: Case, arms: Sequence[Arm]) -> Iterator[str]:
    """A sentence for each run that `left_out` gives up and the court does not have."""
    runs = [run_name(arm.name, seed) for arm in arms for seed in court.seeds]
    for run in court.left_out:
        if run not in runs:
            yield f"left_out names no run: '{run}'{nearest(run, runs)}"


def _too_short(court: Court, run: Mapping[str, Any]) -> Iterator[str]:
    step = _tokens_per_step(run)
    if court.tokens < step:
        yield f"has {court.tokens:,} tokens, less than one step ({step:,})"


def dependencies(court: Case, settled: Mapping[str, str] | None) -> Iterator[str]:
    """A sentence for each modification that builds on what is not part of the baseline; see `check`."""
    here = {one.name for one in court.modifications}
    for one in court.modifications:
        for name in one.depends_on:
            state = (settled or {}).get(name, "proposed")
            if name in here:
                yield f"'{one.name}' depends on '{name}', which this court tests too: a later court can build on it"
            elif settled is not None and state != "accepted":
                yield f"'{one.name}' depends on '{name}', which is {state}"


def _undeclared(arm: Arm, before: Mapping[str, Any], after: Mapping[str, Any], differing: Sequence[str]) -> Iterator[str]:
    declared = [path for told in arm.changes for path in found(after, told)]
    if "model.head_dim" in declared:
        declared.append("model.kv_channels")
    old, new = (document["model"]["kv_channels"] for document in (before, after))
    if "model.kv_channels" in differing and not any(below("model.kv_channels", path) for path in declared):
        yield (
            f"also changes the size of a head, {old} to {new} (hidden_size / num_attention_heads): "
            f"declare the compensation model.head_dim, {new} to say so or {old} to keep it"
        )
    hidden = [path for path in differing if path != "model.kv_channels" and not any(below(path, one) for one in declared)]
    if hidden:
        yield f"also changes {', '.join(hidden)}: declare it as a compensation"


def _one_field(arm: Arm, after: Mapping[str, Any], differing: Sequence[str]) -> Iterator[str]:
    """Of a sweep each axis is a factor. One field are: a mixture, since its shares move together, a list, and what has a name (filters)."""
    for told, value in arm.point.items():
        if isinstance(value, str) and not told.endswith("*"):
            continue
        targets = list(found(after, told))
        fields = {_field(path) for path in differing if any(below(path, target) for target in targets)}
        if len(fields) > 1:
            yield f"changes {len(fields)} things ({', '.join(sorted(fields))}): one is the factor, the others are compensations"


def _field(path: str) -> str:
    head, mixture, _ = path.partition(".mixture.")
    return re.sub(r"\.\d+(?=\.|$)", "", f"{head}.mixture" if mixture else path)


def _with_derived(recipe: CourtRecipe) -> dict[str, Any]:
    document = recipe.model_dump(mode="json")
    model: ModelConfig = recipe.model
    document["model"] |= {"head_dim": None, "kv_channels": model.kv_channels}  # written out or left unset, the size of a head counts
    return document


def _tokens_per_step(run: Mapping[str, Any]) -> int:
    phase = run["training"]["phases"][-1]
    return int(phase["global_batch_size"] * phase["sequence_length"])


def _undecayed(run: Mapping[str, Any]) -> bool:
    return bool(run["training"]["phases"][-1]["schedule"]["shape"] == "constant")


def _values(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{path} is {value!r:.60}" for path, value in values.items())
