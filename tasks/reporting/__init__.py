"""Reporting: the report page, its plots, and the view they are made from.

Light at import: what needs jinja2, numpy or pyarrow is loaded when first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.lazy import offered
from tasks.reporting.config import ReportRequest
from tasks.reporting.view import Link, ReportView, StageView

if TYPE_CHECKING:
    from tasks.reporting.body import report
    from tasks.reporting.build import FILES, build_view
    from tasks.reporting.chat_page import render_chat
    from tasks.reporting.court import render_court
    from tasks.reporting.hub import push_to_hub, require_repository
    from tasks.reporting.laws import render_scaling
    from tasks.reporting.qualified import render_qualification
    from tasks.reporting.releasing import ReleaseRequest, release
    from tasks.reporting.render import loss_image, render_report
    from tasks.reporting.skills import vibe_of
    from tasks.reporting.vibe_page import render_vibe, vibe_markdown

__all__ = [
    "FILES",
    "Link",
    "ReleaseRequest",
    "ReportRequest",
    "ReportView",
    "StageView",
    "build_view",
    "loss_image",
    "push_to_hub",
    "release",
    "render_chat",
    "render_court",
    "render_qualification",
    "render_report",
    "render_scaling",
    "render_vibe",
    "report",
    "require_repository",
    "vibe_markdown",
    "vibe_of",
]
_LAZY = {
    "report": "body",
    "FILES": "build",
    "ReleaseRequest": "releasing",
    "push_to_hub": "hub",
    "require_repository": "hub",
    "release": "releasing",
    "render_vibe": "vibe_page",
    "vibe_markdown": "vibe_page",
    "vibe_of": "skills",
    "build_view": "build",
    "loss_image": "render",
    "render_chat": "chat_page",
    "render_court": "court",
    "render_qualification": "qualified",
    "render_report": "render",
    "render_scaling": "laws",
}

__getattr__ = offered(__name__, _LAZY)
