"""court-NAME before a step after pretraining: the step itself with one setting changed, judged by held-out answers.

Its runs are the step's own stage under other settings and seeds, each followed by its measurement. Whatever the seed, the data are those of
the step: what differs is the order they come in, dropout and sampling.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from flows.court import KIND, request, values_now
from flows.plan import Arm, Node, Plan
from models.count import parameters
from tasks.ablation.arms import Arm as Change
from tasks.ablation.arms import expand
from tasks.ablation.config import StepCourt
from tasks.ablation.request import Compared, StepJudgeRequest
from tasks.ablation.step_factors import required_cells
from tasks.ablation.steps import step_overrides

Run = Callable[[Sequence[str]], Plan]
"""The plan of the recipe at hand with some overrides, as far as the measurement of the judged step."""
WHY = "answers to held-out items, the same ones for every run"


def add(plan: Plan, case: StepCourt, run: Run) -> Node:
    """The case as it is preregistered, and every run of every arm as far as its measurement."""
    name = f"court-{case.name}"
    if plan.is_pinned(name):
        return plan.add(name, KIND, case)
    recipe = plan.recipe.model_dump(mode="json")
    changes = expand(case, recipe)
    wanted = [
        _arm(plan, case, change, seed, run) for change in changes for seed in case.seeds if f"{change.name}.{seed}" not in case.left_out
    ]
    config = StepJudgeRequest(
        court=case,
        before=case.stage,
        arms=[_compared(change) for change in changes],
        modifications=list({m.name: m for m in (change.modification for change in changes) if m is not None}.values()),
        baseline=values_now(recipe, changes),
        votes={case.metric: WHY},
        parameters=parameters(plan.recipe.model),
        required=required_cells(recipe),
    )
    roles = {one.label: one.evaluate for one in wanted} | {f"{one.label}.train": one.train for one in wanted}
    return plan.add(name, KIND, config, request=request, arms=tuple(wanted), parallel=case.parallel, **roles)


def _arm(plan: Plan, case: StepCourt, change: Change, seed: int, run: Run) -> Arm:
    overrides = step_overrides(case, change.changes, plan.recipe.model_dump(mode="json"), seed)
    given = (*plan.accepted, *overrides)
    return Arm(f"{change.name}.{seed}", given, run(overrides), trained_by=case.stage, measured_by=f"measure-{case.stage}")


def _compared(change: Change) -> Compared:
    modification = change.modification.name if change.modification else ""
    return Compared(name=change.name, modification=modification, point=change.point, changes=change.changes)
