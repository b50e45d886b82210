"""curate: filter, remove duplicates, hold out whole packages before anything is trained."""

from __future__ import annotations

from flows.plan import Node, Plan, StageKind

KIND = StageKind("curate", 1, "filter, deduplicate, hold out", body="tasks.data:curate")


def add(plan: Plan, source: Node) -> Node:
    """Documents in, training and held-out documents out."""
    return plan.add("curate", KIND, plan.recipe.data.for_curate(), source=source)
