"""The docket: which modifications of the backlog come before a court this time, and the court that tests them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from contracts.config import nearest
from contracts.errors import ConfigError
from flows.baseline import BACKLOG, Ruling, bare, baseline_run, decisions, holds, rulings
from flows.desk import Desk
from flows.recipe import Recipe, load
from tasks.ablation.backlog import states
from tasks.ablation.config import Backlog, Court, Modification
from tasks.ablation.cost import court_plan, render, require, within_budget
from tasks.training.config import Phase

WARM_UPS, SHARE = 20, 10
"""A run without a court to take its length from: 20 times the warm-up (a 3B model with 2,000 steps of it: the 100B tokens of the playbook's
ablations), or a tenth of the phase where it does not warm up."""


@dataclass(frozen=True)
class Docket:
    """What comes before the court, and what does not."""

    case: Court | None
    """None: nothing does."""
    desk: Desk
    """The recipe with the court in it, before which nothing is decided."""
    left: dict[str, str]
    """Modifications that wait, each with the reason."""
    plan: str = ""
    """What the court takes, for a reader."""


def known_states(backlog: Backlog, recipe: Recipe, found: Sequence[Ruling]) -> dict[str, str]:
    """Modification -> proposed, tested, accepted or rejected over this baseline; what the recipe has already is accepted."""
    derived: dict[str, str] = dict(states(backlog, decisions(recipe, found)))
    return derived | {one.name: "accepted" for one in backlog.modifications if one.change and holds(recipe, one.change)}


def call(
    desk: Desk, backlog: Backlog, items: Sequence[str] = (), seeds: Sequence[int] = (0, 1), tokens: int = 0, device_hours: float = 0.0
) -> Docket:
    """Plan the next court over the recipe of `desk`. It adopts nothing: the recipe stays what it is.

    Args:
        items: names in the backlog; empty: every one that no court has decided over this baseline.
        tokens: of every run; 0: those of the recipe's own first court, or a share of its phase.
        device_hours: what it may take in all, by the compass; 0: no bound but the recipe's own. What does not fit is left for next time.

    Raises:
        ConfigError: an unknown item, one that cannot be tested now (chosen by name only), no seed, or a budget too small for one run.
        GateError: the court cannot be held.
    """
    start, given, plan = replace(desk, pinned=()), load(desk.reference, desk.overrides, desk.store), bare(desk).plan
    if not seeds:
        raise ConfigError("a court needs at least one seed", do="give two or more: with one alone nothing can be decided")
    baseline_run(plan, baseline_case(given, backlog, seeds, tokens), seeds[0])  # what is wrong with every run is no fault of an item
    recipe, known = plan.recipe, known_states(backlog, plan.recipe, rulings(desk))
    tested: list[Modification] = []
    left: dict[str, str] = {}
    for one in _chosen(backlog, items, known):
        reason = _cannot(one, backlog, recipe, known) or _unsound(one, given, recipe, seeds, tokens)
        if reason and items:
            raise ConfigError(f"'{one.name}' cannot be tested now: {reason}", do="choose another one, or leave the choice empty")
        if reason:
            left[one.name] = reason
        else:
            tested.append(one.model_copy(update={"depends_on": []}))  # they are part of this baseline
    if not tested:
        return Docket(None, start, left)
    case = _case(given, tested, seeds, tokens, device_hours)
    fitting = within_budget(tested, case, recipe, device_hours or None)
    if not fitting:
        raise ConfigError(
            f"{device_hours:g} device-hours are too little for the baseline and one change",
            do="raise device_hours, or lower tokens or seeds; `smolflow run --dry-run` shows what a run takes",
        )
    left |= {one.name: f"beyond {device_hours:g} device-hours, left for next time" for one in tested if one not in fitting}
    case = Court.parse(case.model_dump(mode="json") | {"modifications": [one.model_dump(mode="json") for one in fitting]})
    takes = court_plan(case, recipe)
    require(takes)
    held = replace(start, overrides=(*start.overrides, f"ablations.courts={json.dumps([case.model_dump(mode='json')])}"))
    return Docket(case, held, left, render(takes))


def baseline_case(recipe: Recipe, backlog: Backlog, seeds: Sequence[int], tokens: int) -> Court:
    """A court for its baseline alone, which does not depend on what is compared with it."""
    return _case(recipe, backlog.modifications[:1], seeds, tokens, 0.0)


def _chosen(backlog: Backlog, items: Sequence[str], known: dict[str, str]) -> list[Modification]:
    names = [one.name for one in backlog.modifications]
    for name in items:
        if name not in names:
            raise ConfigError(f"the backlog has no '{name}'{nearest(name, names)}", do="choose names that `smolflow backlog` lists")
    return [one for one in backlog.modifications if (one.name in items if items else known[one.name] == "proposed")]


def _cannot(one: Modification, backlog: Backlog, recipe: Recipe, known: dict[str, str]) -> str:
    """Why its dependencies keep it from being tested; a dependency counts once it is part of the baseline, which a person decides."""
    adopted = recipe.baseline.adopted if recipe.baseline else []
    for other in backlog.modifications:
        if other.name in one.depends_on:
            if known[other.name] != "accepted":
                return f"it depends on '{other.name}', which is {known[other.name]}"
            if other.digest not in adopted and not (other.change and holds(recipe, other.change)):
                return f"it depends on '{other.name}', which is accepted but not adopted (smolflow adopt)"
    return ""


def _unsound(one: Modification, given: Recipe, recipe: Recipe, seeds: Sequence[int], tokens: int) -> str:
    """Why it is no change of this recipe that a court can test."""
    try:
        plan = court_plan(_case(given, [one.model_copy(update={"depends_on": []})], seeds, tokens, 0.0), recipe)
    except ConfigError as error:
        return error.what
    return "; ".join(finding.what for finding in plan.blocked if finding.topic != "budget")


def _case(recipe: Recipe, tested: Sequence[Modification], seeds: Sequence[int], tokens: int, device_hours: float) -> Court:
    """The court, after the recipe's own first one where it has any: evaluation, layout, schedule and metric are its."""
    own = next(iter(recipe.ablations.courts), None)
    if own is not None:
        document = own.model_dump(mode="json") | {"template": None, "left_out": {}}
    else:
        phase = recipe.training.phases[0]
        evaluation = recipe.evaluation.model_dump(mode="json") | {"backend": "megatron"}  # of a checkpoint as it is: no arm is converted
        document = {"evaluation": evaluation, "layout": phase.layout.model_dump(mode="json"), "tokens": share(phase)}
    document |= {"name": BACKLOG, "modifications": [one.model_dump(mode="json") for one in tested], "seeds": list(seeds)}
    document |= {"tokens": tokens} if tokens else {}
    if device_hours:
        document["budget"] = document.get("budget", {}) | {"device_hours": device_hours}
    return Court.parse(document, f"court '{BACKLOG}'")


def share(phase: Phase) -> int:
    """Tokens of a run where no court of the recipe says how many."""
    warm_up = phase.schedule.warmup_steps * phase.tokens_per_step
    return min(phase.tokens, WARM_UPS * warm_up or -(-phase.tokens // SHARE))
