"""Merging: averages of checkpoints and the choice among them.

`config` describes the merge; the recipe and the plan read it. Names are imported when they are first used, so that it stays light.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.lazy import offered

if TYPE_CHECKING:
    from tasks.merging.outline import merge_lines
    from tasks.merging.panel import Panel, Share, merge_problems
    from tasks.merging.recall import recall_problems, unmeasured
    from tasks.merging.requests import MergeRequest

__all__ = ["MergeRequest", "Panel", "Share", "merge_lines", "merge_problems", "recall_problems", "unmeasured"]

_HOMES = {
    "MergeRequest": "requests",
    "Panel": "panel",
    "Share": "panel",
    "merge_lines": "outline",
    "merge_problems": "panel",
    "recall_problems": "recall",
    "unmeasured": "recall",
}

__getattr__ = offered(__name__, _HOMES)
