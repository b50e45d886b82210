"""report: one page that tells the whole run."""

from __future__ import annotations

from flows.plan import Node, Plan, StageKind

KIND = StageKind("report", 1, "write the page", body="tasks.reporting:report")


def add(plan: Plan) -> Node:
    """Reads every stage before it; its own config is the recipe as resolved, so that the page shows what was asked for."""
    return plan.add("report", KIND, plan.recipe.model_dump(mode="json"), hashed={"name": plan.recipe.name}, **{n.name: n for n in plan.nodes})
