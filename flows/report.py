"""report: one page that tells the whole run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from contracts.config import identity
from flows.plan import Node, Plan, StageKind

if TYPE_CHECKING:
    from flows.desk import Desk

KIND = StageKind("report", 1, "write the page", body="tasks.reporting:report")


def add(plan: Plan) -> Node:
    """Reads every stage before it. The page shows the recipe, so all of the recipe but placement and gates is its identity."""
    return plan.add("report", KIND, None, hashed=identity(plan.recipe), request=request, **{node.name: node for node in plan.nodes})


def request(node: Node, desk: Desk) -> tuple[Any, dict[str, Path]]:
    """What the page is made from: manifests and gate records of every stage, and the few files that it draws."""
    from tasks.compass import plan_training, render
    from tasks.reporting import FILES, Link, ReportRequest

    recipe = desk.plan.recipe
    artifacts = {one.name: desk.store.require(one.name, one.fingerprint) for one in node.inputs.values()}
    folders = {
        one.name: desk.store.materialise(artifacts[one.name], desk.site.scratch / "report", FILES[one.kind.name])
        for one in node.inputs.values()
        if one.kind.name in FILES
    }
    config = ReportRequest(
        recipe=recipe.model_dump(mode="json"),
        recipe_yaml=recipe.to_yaml(),
        manifests={name: artifact.manifest.model_dump(mode="json") for name, artifact in artifacts.items()},
        inputs={one.name: {role: source.name for role, source in one.inputs.items()} for one in desk.plan},
        records={name: desk.store.records(artifact) for name, artifact in artifacts.items()},
        links=[Link(title="Prefect", url=desk.site.prefect.url), Link(title="MLflow", url=desk.site.mlflow.url)],
        plan=render(plan_training(recipe)),
    )
    return config, folders
