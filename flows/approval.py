"""Whether a stage that is there still waits for a person's word."""

from __future__ import annotations

from flows.desk import Desk
from flows.plan import Node
from flows.recipe import Recipe
from infra.store import Artifact


def asks(node: Node, recipe: Recipe) -> bool:
    """Whether a person must approve what this stage leaves."""
    return node.kind.name == "vibe" and recipe.posttraining is not None and recipe.posttraining.vibe.approval


def outstanding(node: Node, artifact: Artifact, desk: Desk) -> bool:
    """Whether a person must approve it and has not; one that was refused is asked about again."""
    return asks(node, desk.plan.recipe) and bool(problems(artifact, desk))


def problems(artifact: Artifact, desk: Desk) -> list[str]:
    """What keeps a vibe check that must be approved from passing, by the record beside it."""
    from tasks.posttraining import approval_of, approval_problems

    return approval_problems(approval_of(desk.store.records(artifact)))
