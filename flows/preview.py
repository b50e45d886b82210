"""The dry run: what a recipe would do, from the same planner as a launch."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from typing import Any

from contracts.errors import SmolflowError
from flows.desk import Desk
from flows.explain import Reason, explain
from flows.gate import court_plans
from flows.recipe import Recipe


@dataclass(frozen=True)
class Preview:
    """A plan for a program and for a person."""

    data: dict[str, Any]
    text: str


def preview(desk: Desk) -> Preview:
    """Stages with their outlook, tokens, steps, per-source tokens and epochs, layout, memory and cost.

    Raises:
        GateError: the plan cannot be launched; its text says all of what blocks it.
    """
    from tasks.ablation.cost import render as render_court_plan
    from tasks.compass import plan_training, render, require

    recipe = desk.plan.recipe
    plan = plan_training(recipe)
    stages = _outlook(desk)
    courts = court_plans(desk)
    lines = [f"recipe      {recipe.name}: {recipe.purpose.question}", render(plan), ""]
    lines += [line for court in courts for line in (render_court_plan(court), "")]
    lines += _after_pretraining(recipe)
    lines += ["stages"]
    lines += [f"  {r.stage:<22} {r.verdict:<8} {'; '.join(r.because)}".rstrip() for r in stages]
    parts: dict[str, Any] = {"recipe": recipe.model_dump(mode="json"), "plan": plan.model_dump(mode="json")}
    parts["courts"] = [court.model_dump(mode="json") for court in courts]
    data = {**parts, "stages": [asdict(reason) for reason in stages]}
    if recipe.waiver("compass") is None:
        try:
            require(plan)
        except SmolflowError:
            print("\n".join(lines), file=sys.stderr)
            raise
    return Preview(data, "\n".join(lines))


def _after_pretraining(recipe: Recipe) -> list[str]:
    if recipe.posttraining is None:
        return []
    from tasks.merging import merge_lines
    from tasks.posttraining import step_lines

    lines = step_lines(recipe.posttraining) + (merge_lines(recipe.merging) if recipe.merging is not None else [])
    lines += [f"{'release':<22} {', '.join(recipe.release.formats)}"] if recipe.release is not None else []
    return ["after pretraining", *(f"  {line}" for line in lines), ""]


def _outlook(desk: Desk) -> list[Reason]:
    """Outlook by fingerprint; where the sources lie beyond reach (a dataset hub, a bucket), the stages are listed without one."""
    try:
        return explain(desk)
    except SmolflowError as error:
        return [Reason(node.name, "", "planned", [error.what] if node is desk.plan.nodes[0] else []) for node in desk.plan]
