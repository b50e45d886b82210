"""evaluate: bits per byte and minimal pairs on held-out text, with intervals, and samples to read."""

from __future__ import annotations

from flows.plan import Node, Plan, StageKind

KIND = StageKind("evaluate", 1, "measure on held-out text", craft="evaluation")


def add(plan: Plan, model: Node, shards: Node, curate: Node) -> Node:
    """The converted model, the shards (for the bigram it must beat) and held-out text in; tables with intervals out."""
    return plan.add("evaluate", KIND, plan.recipe.evaluation, model=model, tokenize=shards, curate=curate)
