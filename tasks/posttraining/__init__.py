"""Post-training: chat template, supervised fine-tuning, preferences, reinforcement.

`config` describes the chain; the recipe and the plan read it. Names are imported when they are first used, so that it stays light.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.lazy import offered

if TYPE_CHECKING:
    from tasks.posttraining.approval import APPROVAL, Approval, approval_of, approval_problems
    from tasks.posttraining.chat import chat_data_problems
    from tasks.posttraining.chat_files import read_chat, samples_of
    from tasks.posttraining.chat_requests import ChatRequest, MeasureRequest, PairsRequest, VibeRequest, chat_request
    from tasks.posttraining.chat_sources import chat_snapshot
    from tasks.posttraining.comparison import Change, compare, form_problems, regression_problems
    from tasks.posttraining.conversation import Sample
    from tasks.posttraining.heldout_reads import HeldoutRead, read_problems
    from tasks.posttraining.lint_report import LintReport, chat_problems
    from tasks.posttraining.linter import Linter, Shown, lint
    from tasks.posttraining.measure import measure as measure_skills
    from tasks.posttraining.outline import step_lines
    from tasks.posttraining.pairs import pairs_problems
    from tasks.posttraining.rendering import Renderer, Rendering, Token
    from tasks.posttraining.reply import Reply, parse_reply
    from tasks.posttraining.sampling import Answer, Sampler
    from tasks.posttraining.skill_scores import Cell, SkillScores, read_skills
    from tasks.posttraining.talk import Dialogue, Piece, Spoken
    from tasks.posttraining.template import equip, template_text
    from tasks.posttraining.vibe import Vibe

__all__ = [
    "APPROVAL",
    "Answer",
    "Approval",
    "Cell",
    "Change",
    "ChatRequest",
    "Dialogue",
    "HeldoutRead",
    "LintReport",
    "Linter",
    "MeasureRequest",
    "PairsRequest",
    "Piece",
    "Renderer",
    "Rendering",
    "Reply",
    "Sample",
    "Sampler",
    "Shown",
    "SkillScores",
    "Spoken",
    "Token",
    "Vibe",
    "VibeRequest",
    "approval_of",
    "approval_problems",
    "chat_data_problems",
    "chat_problems",
    "chat_request",
    "chat_snapshot",
    "compare",
    "equip",
    "form_problems",
    "lint",
    "measure_skills",
    "pairs_problems",
    "parse_reply",
    "read_chat",
    "read_problems",
    "read_skills",
    "regression_problems",
    "samples_of",
    "step_lines",
    "template_text",
]

# `measure` is offered under another name: a package's module of that name would take its place as soon as it is imported.
_HOMES = {
    "APPROVAL": "approval",
    "Answer": "sampling",
    "Approval": "approval",
    "Cell": "skill_scores",
    "Change": "comparison",
    "ChatRequest": "chat_requests",
    "Dialogue": "talk",
    "HeldoutRead": "heldout_reads",
    "LintReport": "lint_report",
    "Linter": "linter",
    "MeasureRequest": "chat_requests",
    "PairsRequest": "chat_requests",
    "Piece": "talk",
    "Renderer": "rendering",
    "Rendering": "rendering",
    "Reply": "reply",
    "Sample": "conversation",
    "Sampler": "sampling",
    "Shown": "linter",
    "SkillScores": "skill_scores",
    "Spoken": "talk",
    "Token": "rendering",
    "Vibe": "vibe",
    "VibeRequest": "chat_requests",
    "approval_of": "approval",
    "approval_problems": "approval",
    "chat_data_problems": "chat",
    "chat_problems": "lint_report",
    "chat_request": "chat_requests",
    "chat_snapshot": "chat_sources",
    "compare": "comparison",
    "equip": "template",
    "form_problems": "comparison",
    "lint": "linter",
    "measure_skills": "measure:measure",
    "pairs_problems": "pairs",
    "parse_reply": "reply",
    "read_chat": "chat_files",
    "read_problems": "heldout_reads",
    "read_skills": "skill_scores",
    "regression_problems": "comparison",
    "samples_of": "chat_files",
    "step_lines": "outline",
    "template_text": "template",
}

__getattr__ = offered(__name__, _HOMES)
