"""The body of the stage `report`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from infra.job import Progress, Summary
from tasks.reporting.build import build_view, one_line
from tasks.reporting.config import ReportRequest
from tasks.reporting.render import render_report


def report(config: ReportRequest, inputs: Mapping[str, Path], out: Path, progress: Progress) -> Summary:
    """Write `report.html` to `out`.

    Args:
        inputs: stage -> folder with the files that `tasks.reporting.FILES` names (more do no harm).
    """
    progress(0, 2, "reading what the stages left")
    view = build_view(
        config.recipe,
        config.manifests,
        inputs,
        states=config.states,
        inputs=config.inputs,
        records=config.records,
        links=config.links,
        recipe_yaml=config.recipe_yaml,
        plan=config.plan,
        model_path=config.model_path,
    )
    progress(1, 2, "writing the page")
    page = render_report(view)
    (out / "report.html").write_text(page, encoding="utf-8")
    progress(2, 2, one_line(view))
    return Summary(counts={"stages": len(view.stages), "bytes": len(page.encode())})
