"""Where a person finds what a run made: .smolflow/results/<recipe>/ with report.html, vibe.html, model/ and a page for each court."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flows.baseline import BACKLOG
from flows.desk import Desk
from flows.plan import Node
from infra.store import Artifact
from tasks.ablation.results import CourtResult

if TYPE_CHECKING:
    from tasks.ablation import ScalingFit, Trial
    from tasks.posttraining import Vibe
    from tasks.reporting import Link

REPORT, MODEL = ("report", "report.html"), ("convert", "model")
"""(stage, file or folder of its artifact)."""
RELEASE, CARD = "release", "README.md"


def result(desk: Desk, stage: str, name: str) -> Path:
    """Bring `name` of a stage's artifact here and return a path that stays the same from run to run (a link to the verified copy).

    Raises:
        ArtifactMissing: the stage has not been run.
    """
    node = desk.plan.node(stage)
    artifact = desk.store.require(node.name, node.fingerprint)
    root = desk.site.home / "results" / desk.plan.recipe.name
    return _linked(root, name, desk.store.materialise(artifact, root / "artifacts", [name]) / name)


def final_model(desk: Desk) -> Path:
    """The folder of the recipe's final model: the released one with its card, without post-training the converted one.

    Raises:
        ArtifactMissing: the stage has not been run.
    """
    released = next((node for node in desk.plan if node.name == RELEASE), None)
    if released is None:
        return result(desk, *MODEL)
    artifact = desk.store.require(released.name, released.fingerprint)
    root = desk.site.home / "results" / desk.plan.recipe.name
    return _linked(root, MODEL[1], desk.store.materialise(artifact, root / "artifacts"))


def _linked(root: Path, name: str, copy: Path) -> Path:
    link, fresh = root / name, root / f".{name}.{os.getpid()}"
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(copy.relative_to(root))
    fresh.replace(link)
    return link


def court_page(desk: Desk, court: CourtResult, artifact: Artifact) -> Path:
    """Write the page of a court beside the other results: court-NAME.html, for one of the many of the backlog with its fingerprint."""
    from tasks.reporting import render_court

    name = f"{artifact.stage}-{artifact.fingerprint[:8]}" if court.name == BACKLOG else artifact.stage
    return _page(desk, name, render_court(court, _links(desk)))


def scaling_page(desk: Desk, fit: ScalingFit, study: Sequence[Trial]) -> Path:
    """Write the page of a scaling study beside the other results: scaling.html."""
    from tasks.reporting import render_scaling

    return _page(desk, "scaling", render_scaling(fit, study, _links(desk)))


def vibe_page(desk: Desk, vibe: Node, artifact: Artifact) -> tuple[Path, Vibe]:
    """Write the page of a vibe check beside the other results, vibe.html; (the page, what it shows)."""
    from tasks.posttraining import approval_of
    from tasks.reporting import render_vibe, vibe_of

    found = vibe_of({vibe.name: desk.store.materialise(artifact, desk.site.scratch / "vibe", ["vibe.json"])})
    assert found is not None
    approval = approval_of(desk.store.records(artifact))
    return _page(desk, "vibe", render_vibe(found, vibe.inputs["model"].name, approval)), found


def _links(desk: Desk) -> list[Link]:
    from tasks.reporting import Link

    return [Link(title="Prefect", url=desk.site.prefect.url), Link(title="MLflow", url=desk.site.mlflow.url)]


def _page(desk: Desk, name: str, html: str) -> Path:
    page = desk.site.home / "results" / desk.plan.recipe.name / f"{name}.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    fresh = page.with_name(f".{page.name}.{os.getpid()}")
    fresh.write_text(html, encoding="utf-8")
    fresh.replace(page)
    return page
