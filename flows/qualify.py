"""qualify: seed runs of the baseline, evaluated along the way, say which tasks carry enough signal to vote in a court."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.court import EVIDENCE, Branch
from flows.plan import Arm, Node, Plan, StageKind
from tasks.ablation import BASELINE
from tasks.ablation.arms import qualification_overrides
from tasks.ablation.config import Modification, Qualification

if TYPE_CHECKING:
    from flows.desk import Desk

KIND = StageKind("qualify", 1, "which tasks may vote", body="tasks.evaluation:qualify")


def add(plan: Plan, wanted: Qualification, branch: Branch) -> Node:
    """Every seed run at every length: a longer one goes on from the shorter, so nothing is trained twice."""
    from tasks.evaluation import QualifyRequest

    if plan.is_pinned(KIND.name):
        return plan.add(KIND.name, KIND, wanted)
    recipe = plan.recipe.model_dump(mode="json")
    variants: list[Modification | None] = [None, *wanted.variants]
    # The lengths of one run follow each other in its workspace, so they are listed shortest first and one after the other.
    arms = [
        _run(wanted, recipe, seed, checkpoint, variant, branch)
        for checkpoint in range(1, wanted.checkpoints + 1)
        for variant in variants
        for seed in wanted.seeds
    ]
    config = QualifyRequest(
        arms=[one.name if one else BASELINE for one in variants],
        seeds=wanted.seeds,
        tokens=sorted({int(arm.label.rpartition(".")[2]) for arm in arms}),
        monotonicity=wanted.monotonicity,
        signal_to_noise=wanted.signal_to_noise,
        above_random=wanted.above_random,
    )
    roles = {arm.label: arm.evaluate for arm in arms}
    return plan.add(KIND.name, KIND, config, request=request, arms=tuple(arms), parallel=wanted.parallel, **roles)


def _run(wanted: Qualification, recipe: dict[str, Any], seed: int, checkpoint: int, variant: Modification | None, branch: Branch) -> Arm:
    overrides = qualification_overrides(wanted, recipe, seed, checkpoint, variant)
    plan = branch(overrides)
    name = variant.name if variant else BASELINE
    return Arm(f"{name}.{seed}.{plan.recipe.training.phases[-1].tokens}", tuple(overrides), plan)


def request(node: Node, desk: Desk) -> tuple[Any, dict[str, Path]]:
    """The statistics of every evaluation."""
    found = {role: desk.store.require(one.name, one.fingerprint) for role, one in node.inputs.items()}
    scratch = desk.site.scratch / "court"
    return node.config, {role: desk.store.materialise(artifact, scratch, EVIDENCE["evaluate"]) for role, artifact in found.items()}
