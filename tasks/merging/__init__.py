"""Merging: averages of checkpoints and the choice among them.

`config` describes the merge; the recipe and the plan read it. Names are imported when they are first used, so that it stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tasks.merging.panel import Panel, Share, merge_problems
    from tasks.merging.recall import recall_problems, unmeasured
    from tasks.merging.requests import MergeRequest

__all__ = ["MergeRequest", "Panel", "Share", "merge_problems", "recall_problems", "unmeasured"]

_HOMES = {
    "MergeRequest": "requests",
    "Panel": "panel",
    "Share": "panel",
    "merge_problems": "panel",
    "recall_problems": "recall",
    "unmeasured": "recall",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'tasks.merging' has no attribute '{name}'")
    return getattr(import_module(f"tasks.merging.{_HOMES[name]}"), name)
