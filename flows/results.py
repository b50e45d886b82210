"""Where a person finds what a finished run made: .smolflow/results/<recipe>/ with report.html, model/ and a page for each court."""

from __future__ import annotations

import os
from pathlib import Path

from flows.baseline import BACKLOG
from flows.desk import Desk
from infra.store import Artifact
from tasks.ablation.results import CourtResult

REPORT, MODEL = ("report", "report.html"), ("convert", "model")
"""(stage, file or folder of its artifact)."""


def result(desk: Desk, stage: str, name: str) -> Path:
    """Bring `name` of a stage's artifact here and return a path that stays the same from run to run (a link to the verified copy).

    Raises:
        ArtifactMissing: the stage has not been run.
    """
    node = desk.plan.node(stage)
    artifact = desk.store.require(node.name, node.fingerprint)
    root = desk.site.home / "results" / desk.plan.recipe.name
    copy = desk.store.materialise(artifact, root / "artifacts", [name]) / name
    link, fresh = root / name, root / f".{name}.{os.getpid()}"
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(copy.relative_to(root))
    fresh.replace(link)
    return link


def court_page(desk: Desk, court: CourtResult, artifact: Artifact) -> Path:
    """Write the page of a court beside the other results: court-NAME.html, for one of the many of the backlog with its fingerprint."""
    from tasks.reporting import Link, render_court

    name = f"{artifact.stage}-{artifact.fingerprint[:8]}" if court.name == BACKLOG else artifact.stage
    page = desk.site.home / "results" / desk.plan.recipe.name / f"{name}.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    fresh = page.with_name(f".{page.name}.{os.getpid()}")
    links = [Link(title="Prefect", url=desk.site.prefect.url), Link(title="MLflow", url=desk.site.mlflow.url)]
    fresh.write_text(render_court(court, links), encoding="utf-8")
    fresh.replace(page)
    return page
