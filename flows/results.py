"""Where a person finds what a finished run made: .smolflow/results/<recipe>/report.html and model/."""

from __future__ import annotations

import os
from pathlib import Path

from flows.desk import Desk

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
