"""Reporting: the report page, its plots, and the view they are made from.

Light at import: `render_report`, `loss_image`, `build_view` and `report` are loaded when first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tasks.reporting.view import ReportView, StageView

if TYPE_CHECKING:
    from tasks.reporting.render import loss_image, render_report

__all__ = ["ReportView", "StageView", "loss_image", "render_report"]


def __getattr__(name: str) -> Any:
    if name in ("render_report", "loss_image"):
        from tasks.reporting import render

        return getattr(render, name)
    raise AttributeError(name)
