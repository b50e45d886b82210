"""court-NAME: one change at a time against the baseline, judged against measured noise; what it accepts is what later stages train."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.plan import Arm, Node, Plan, StageKind
from tasks.ablation import JudgeRequest
from tasks.ablation.arms import Arm as Change
from tasks.ablation.arms import arm_overrides, expand
from tasks.ablation.config import Court
from tasks.ablation.fields import apply
from tasks.ablation.fields import found as fields_at
from tasks.ablation.request import ArmRequest, Hearing

if TYPE_CHECKING:
    from flows.desk import Desk

KIND = StageKind("court", 2, "decide by ablation", body="tasks.ablation:judge")
EVIDENCE = {
    "train": ["metrics.jsonl", "state.json", "training.json", "model.json"],
    "evaluate": ["scores.json"],
    **{kind: ["training.json"] for kind in ("sft", "preference", "reinforcement", "distillation")},
    "measure": ["skills.json"],
}
"""Files of a run that the judge reads; a checkpoint or a model is none of them."""

Branch = Callable[[Sequence[str]], Plan]
"""The plan of the recipe at hand with some overrides."""


def add(plan: Plan, case: Court, before: str, branch: Branch, qualified: Node | None) -> Node:
    """The case as it is preregistered, and every run of every arm as far as its evaluation."""
    name = f"court-{case.name}"
    if plan.is_pinned(name):
        return plan.add(name, KIND, case)
    recipe = plan.recipe.model_dump(mode="json")
    changes = expand(case, recipe)
    base = apply(recipe, changes[0].base)
    runs = [_run(plan, case, change, seed, recipe, branch) for change in changes for seed in case.seeds]
    wanted = [run for run in runs if run.label not in case.left_out]
    roles = {run.label: run.evaluate for run in wanted} | {f"{run.label}.train": run.train for run in wanted}
    first = {run.label.rpartition(".")[0]: run for run in reversed(runs)}
    config = JudgeRequest(
        court=case,
        before=before,
        arms=[_described(change, first[change.name].plan) for change in changes],
        modifications=list({m.name: m for m in (change.modification for change in changes) if m is not None}.values()),
        baseline=values_now(base, changes),
    )
    more = {"qualify": qualified} if qualified is not None else {}
    return plan.add(name, KIND, config, request=request, arms=tuple(wanted), parallel=case.parallel, **roles, **more)


def _run(plan: Plan, case: Court, change: Change, seed: int, recipe: dict[str, Any], branch: Branch) -> Arm:
    overrides = arm_overrides(change, case, recipe, seed)
    return Arm(f"{change.name}.{seed}", (*plan.accepted, *overrides), branch(overrides))


def _described(change: Change, plan: Plan) -> ArmRequest:
    training = plan.recipe.training
    return ArmRequest(
        name=change.name,
        modification=change.modification.name if change.modification else "",
        point=change.point,
        changes=change.changes,
        model=plan.recipe.model,
        phase=training.phases[-1],
        optimizer=training.optimizer,
    )


def values_now(recipe: dict[str, Any], changes: Sequence[Change]) -> dict[str, Any]:
    """Every field that the arms change, as `recipe` (JSON) has it."""
    return {path: _now(recipe, path) for path in sorted({path for change in changes for path in change.changes})}


def _now(recipe: dict[str, Any], path: str) -> Any:
    """What stands at `path`; of several places one value where they agree."""
    values = list(fields_at(recipe, path).values())
    return values[0] if all(value == values[0] for value in values[1:]) else values


def request(node: Node, desk: Desk) -> tuple[Hearing, dict[str, Path]]:
    """The case with what is known only now: which metrics qualified, what earlier courts decided, and what each run's manifest says."""
    found = {role: desk.store.require(one.name, one.fingerprint) for role, one in node.inputs.items()}
    folders = {
        role: desk.store.materialise(found[role], desk.site.scratch / "court", EVIDENCE[one.kind.name])
        for role, one in node.inputs.items()
        if one.kind.name in EVIDENCE
    }
    settled: dict[str, str] = {}
    before = desk.plan.written
    for court in node.courts:
        evidence = desk.store.require(court.name, court.fingerprint).manifest.evidence
        settled |= {row["modification"]["name"]: row["state"] for row in evidence["decisions"]}
        before = before.override(evidence["accepted"])
    manifests = {role: artifact.manifest.model_dump(mode="json") for role, artifact in found.items() if role != "qualify"}
    known: dict[str, Any] = {"settled": settled, "manifests": manifests}
    if isinstance(node.config, JudgeRequest):  # held-out answers of a step need no qualification
        qualified = found["qualify"].manifest.evidence if "qualify" in found else None
        known["votes"], known["reported"] = _votes(qualified, node.config.court, desk)
    known["recipe"] = before.model_dump(mode="json")
    return node.config.model_copy(update=known), folders


def _votes(qualified: dict[str, Any] | None, case: Court, desk: Desk) -> tuple[dict[str, str], dict[str, str]]:
    waived = desk.plan.recipe.waiver("qualification")
    why: dict[str, str] = dict(qualified["why"]) if qualified else {}
    passed = {metric for metric, good in (qualified or {}).get("qualified", {}).items() if good}
    votes = {metric: why.get(metric, "qualified") for metric in passed}
    if case.metric not in votes and waived is not None:
        votes[case.metric] = f"waived: {waived}"
    return votes, {metric: reason for metric, reason in why.items() if metric not in votes}
