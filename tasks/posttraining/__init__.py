"""Post-training: chat template, supervised fine-tuning, preferences, reinforcement.

`config` describes the chain; the recipe and the plan read it. Names are imported when they are first used, so that it stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tasks.posttraining.chat_files import read_chat, samples_of
    from tasks.posttraining.conversation import Sample
    from tasks.posttraining.lint_report import LintReport, chat_problems
    from tasks.posttraining.linter import Linter, Shown, lint
    from tasks.posttraining.rendering import Renderer, Rendering, Token
    from tasks.posttraining.reply import Reply, parse_reply
    from tasks.posttraining.template import equip, template_text

__all__ = [
    "LintReport",
    "Linter",
    "Renderer",
    "Rendering",
    "Reply",
    "Sample",
    "Shown",
    "Token",
    "chat_problems",
    "equip",
    "lint",
    "parse_reply",
    "read_chat",
    "samples_of",
    "template_text",
]

_HOMES = {
    "LintReport": "lint_report",
    "Linter": "linter",
    "Renderer": "rendering",
    "Rendering": "rendering",
    "Reply": "reply",
    "Sample": "conversation",
    "Shown": "linter",
    "Token": "rendering",
    "chat_problems": "lint_report",
    "equip": "template",
    "lint": "linter",
    "parse_reply": "reply",
    "read_chat": "chat_files",
    "samples_of": "chat_files",
    "template_text": "template",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'tasks.posttraining' has no attribute '{name}'")
    return getattr(import_module(f"tasks.posttraining.{_HOMES[name]}"), name)
