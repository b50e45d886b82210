"""The released model in MLflow's model registry: a version of the recipe's name, found again by its fingerprint."""

from __future__ import annotations

import logging
from typing import Any

from flows import release
from flows.desk import Desk
from flows.plan import Node
from flows.released import run_line
from flows.results import CARD
from flows.stage import find
from infra.tracking import register_model
from infra.tracking.mlflow import Mlflow, TrackingAway

SECONDS = 20.0
"""A call may take; the server is busy while a run ends."""


def register(node: Node, desk: Desk, log: logging.Logger | logging.LoggerAdapter[Any]) -> str | None:
    """Register what a stage `release` left; a version that is there already is only renewed, and any other stage is passed by.

    Nothing here stops a stage: with MLflow away a warning says how to do it again.

    Returns:
        Address of the version's page; None where there is none.
    """
    artifact = find(node, desk) if node.kind is release.KIND else None
    if artifact is None:
        return None
    name, evidence = desk.plan.recipe.name, artifact.manifest.evidence
    tags = {"recipe": desk.reference, "released": str(node.config), "shaped": ", ".join(evidence.get("shaped", []))}
    model = desk.store.find(node.inputs["model"].fingerprint, node.inputs["model"].name)
    winner = model.manifest.evidence.get("panel", {}).get("winner") if model else None
    tags |= {"winner": str(winner)} if winner else {}
    tags |= {figure: f"{value:.4f}" for figure, value in artifact.manifest.metrics.items()}
    card = desk.store.materialise(artifact, desk.site.scratch / "artifacts", [CARD]) / CARD
    try:
        page = register_model(Mlflow(desk.site.mlflow.url, SECONDS), name, artifact, tags, card.read_text(encoding="utf-8"))
    except TrackingAway as error:
        log.warning("%s is not registered in MLflow (%s); with MLflow up, do it again: %s", name, error, run_line(desk, node.name))
        return None
    log.info("%s is registered in MLflow: %s", name, page)
    return page
