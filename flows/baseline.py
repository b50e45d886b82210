"""A recipe as the baseline of courts: which courts in the store judged this one, what they decided, and the next version of it.

A court judged a recipe exactly when the run that was its baseline is the run that the recipe would have as baseline of that court: the same
fingerprint, which covers text, tokenizer, model, optimizer, schedule, seed and the stages' versions. Decisions over any other baseline, an
earlier version of the recipe among them, say nothing of this one. What is not trained (evaluation, later phases, money) is no part of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from contracts.config import digest, identity
from contracts.errors import ConfigError, SmolflowError
from flows.dag import court, dag
from flows.desk import Desk
from flows.plan import Arm, Plan
from flows.recipe import Baseline, Recipe
from infra.store import Artifact
from tasks.ablation.arms import PHASE, arm_overrides
from tasks.ablation.arms import Arm as Change
from tasks.ablation.config import Case, Court
from tasks.ablation.fields import apply, changed
from tasks.ablation.results import BASELINE, CourtResult
from tasks.ablation.templates import write

RESULT = "court.json"
BACKLOG = "backlog"
"""Name of every court that tests the backlog; its stage is court-backlog."""


@dataclass(frozen=True)
class Ruling:
    """One court in the store that judged the recipe at hand."""

    artifact: Artifact
    case: Court
    """The court as it was preregistered."""

    @property
    def decisions(self) -> list[dict[str, Any]]:
        """What it decided, modification by modification."""
        return list(self.artifact.manifest.evidence["decisions"])


def bare(desk: Desk) -> Desk:
    """The recipe without its own courts: what every court of it starts from."""
    return replace(desk, overrides=(*desk.overrides, "ablations={}"), pinned=())


def rulings(desk: Desk) -> list[Ruling]:
    """Every court in the store whose baseline is this recipe, oldest first."""
    plan = bare(desk).plan
    found = [artifact for artifact in desk.store.artifacts() if artifact.stage.startswith(f"{court.KIND.name}-")]
    judged = [(artifact, _judged(artifact, plan)) for artifact in sorted(found, key=lambda one: one.manifest.created)]
    return [Ruling(artifact, case) for artifact, case in judged if case is not None]


def _judged(artifact: Artifact, plan: Plan) -> Court | None:
    """The case of a stored court, if its baseline is the recipe of `plan`."""
    try:
        case = Court.parse(artifact.manifest.config["config"]["court"])
        seed = next(seed for seed in case.seeds if f"{BASELINE}.{seed}.train" in artifact.manifest.inputs)
        run = baseline_run(plan, case, seed)
        return case if run.train.fingerprint == artifact.manifest.inputs[f"{BASELINE}.{seed}.train"].fingerprint else None
    except (SmolflowError, KeyError, StopIteration):  # it does not fit this recipe at all, or was written by another version
        return None


def baseline_run(plan: Plan, case: Court, seed: int, repeat: str = "") -> Arm:
    """The baseline's run of `case` over the recipe of `plan`.

    Args:
        repeat: label under which it is trained anew.
    """
    recipe = plan.recipe.model_dump(mode="json")
    overrides = arm_overrides(Change(BASELINE, base=write(case, recipe)[0]), case, recipe, seed)
    again = [f"training.phases.{PHASE}.repeat={json.dumps(repeat)}"] if repeat else []
    overrides = [*overrides, *again]
    return Arm(f"{repeat or BASELINE}.{seed}", tuple(overrides), dag(plan.recipe.override(overrides), like=plan))


def decisions(recipe: Recipe, found: Sequence[Ruling]) -> list[dict[str, Any]]:
    """Every decision over this baseline, oldest first; what an earlier version adopted is accepted, since it is part of this one."""
    taken = recipe.baseline.adopted if recipe.baseline else []
    return [{"digest": one, "state": "accepted"} for one in taken] + [row for ruling in found for row in ruling.decisions]


def result_of(desk: Desk, artifact: Artifact) -> CourtResult:
    """court.json of a court."""
    folder = desk.store.materialise(artifact, desk.site.scratch / "court", [RESULT])
    return CourtResult.parse(json.loads((folder / RESULT).read_text()), artifact.uri)


def of_its_steps(desk: Desk) -> list[str]:
    """Fingerprints of the recipe's own courts over steps after pretraining, as far as they are known."""
    stages = {f"{court.KIND.name}-{case.name}" for case in desk.plan.recipe.ablations.steps}
    return [node.fingerprint for node in desk.plan if node.name in stages and node.awaits is None]


def find_court(desk: Desk, wanted: str = "") -> Artifact:
    """The newest court of this recipe, its own or one of the backlog's.

    Args:
        wanted: name of the court, or the beginning of its fingerprint; empty: any.

    Raises:
        ConfigError: there is none.
    """
    own = [desk.store.find(node.fingerprint, node.name) for node in desk.plan if node.kind is court.KIND and node.awaits is None]
    found = {one.fingerprint: one for one in [*own, *(ruling.artifact for ruling in rulings(desk))] if one is not None}
    prefix = f"{court.KIND.name}-"
    named = [one for one in found.values() if one.stage == prefix + wanted or one.fingerprint.startswith(wanted)]
    if not named:
        known = ", ".join(f"{one.stage.removeprefix(prefix)} {one.fingerprint[:12]}" for one in found.values())
        which = f" called '{wanted}'" if wanted else ""
        do = f"name one of: {known}" if known else f"smolflow run --recipe {desk.reference}, or start `backlog` in the Prefect UI"
        raise ConfigError(f"no court{which} has decided over this recipe", do=do)
    return max(named, key=lambda one: one.manifest.created)


def adopt(recipe: Recipe, ruling: CourtResult, fingerprint: str, by: str) -> Recipe:
    """Version N + 1: the recipe with what the court accepted, and its lineage. What was adopted is no question of its own courts any more.

    Raises:
        ConfigError: the court accepted nothing, or nothing that the recipe does not have.
    """
    if not ruling.accepted:
        raise ConfigError(f"court '{ruling.name}' ({fingerprint[:12]}) accepted nothing: the baseline is kept", do="read `smolflow court`")
    taken = {one.modification.name: one.digest for one in ruling.decisions if one.state == "accepted"}
    new = recipe.override(ruling.accepted)
    if not changed(recipe.model_dump(mode="json"), new.model_dump(mode="json")):
        raise ConfigError("the recipe has all of it already", do="run it as it is")
    document = new.model_dump(mode="json")
    for courts, held in (("courts", new.ablations.courts), ("steps", new.ablations.steps)):
        document["ablations"][courts] = [left for one in held if (left := _without(one, taken)) is not None]
    before = recipe.baseline
    document["baseline"] = Baseline(
        version=version(recipe) + 1,
        parent=digest(identity(recipe)),
        court=fingerprint,
        by=by,
        diff=ruling.diff,
        adopted=[*(before.adopted if before else []), *taken.values()],
    ).model_dump(mode="json")
    return Recipe.parse(document, "adoption")


def version(recipe: Recipe) -> int:
    """Number of the baseline that a recipe is."""
    return recipe.baseline.version if recipe.baseline else 1


def holds(recipe: Recipe, changes: dict[str, Any]) -> bool:
    """Whether the recipe has these values already; not where they lead nowhere in it."""
    document = recipe.model_dump(mode="json")
    try:
        return not changed(document, apply(document, changes))
    except ConfigError:
        return False


def _without(case: Case, taken: Mapping[str, str]) -> dict[str, Any] | None:
    """A court without the modifications that were adopted (name -> digest); None where nothing is left of it."""
    left = [
        one.model_dump(mode="json") | {"depends_on": [name for name in one.depends_on if name not in taken]}
        for one in case.modifications
        if one.digest not in taken.values()
    ]
    return {**case.model_dump(mode="json"), "modifications": left} if left or case.template else None
