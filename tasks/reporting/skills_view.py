"""What the report and the model card show of post-training: every step's held-out skills beside its parent's."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from contracts.config import Config
from tasks.reporting.interval import Interval

Outcome = Literal["gain", "no gain outside its interval", "loss"]
"""What a step did to held-out accuracy, judged by the interval of the difference to its parent."""
Answers = Literal["greedy", "sampled"]


class Change(Config):
    """A step against its parent on the same items."""

    outcome: Outcome
    """Which side of zero the whole interval lies on, or neither."""
    difference: Interval
    """Accuracy after minus before."""


class SkillCell(Config):
    """One skill in one mode, answered in one way; or a task."""

    skill: str
    """Generated skill, or task."""
    mode: str
    """think or no_think; empty where choices are ranked without a conversation."""
    answers: Answers | Literal["ranked"]
    """The most likely answers, ones that were sampled (of a skill at temperature 1), or choices ranked by likelihood."""
    accuracy: Interval
    """Share of right answers."""
    items: int
    """Held-out items asked."""
    formatted: float | None = None
    """Share of answers in the form that was asked for; unset for a task."""
    truncated: float | None = None
    """Share of answers cut by the length limit; unset for a task."""
    tokens: float | None = None
    """Mean length of an answer in tokens; unset for a task."""
    attempts: int = 0
    """Answers taken of each item of a task; 0: it is a skill."""
    chance: float = 0.0
    """What guessing scores."""
    change: Change | None = None
    """Against the parent; unset: there is none, or it was not measured here."""


class SkillStep(Config):
    """A model from base to merge, measured."""

    stage: str
    """Stage that made it."""
    parent: str = ""
    """Stage it started from; empty for the base."""
    parents: list[str] = Field(default_factory=list)
    """What a merge was made of."""
    greedy: Interval
    """Accuracy of the most likely answers, all skills and modes together."""
    sampled: Interval
    """Accuracy of answers sampled at temperature 1, all together."""
    greedy_change: Change | None = None
    """Against the parent."""
    sampled_change: Change | None = None
    """Against the parent."""
    tasks: Interval | None = None
    """Mean accuracy over tasks; unset: none was asked."""
    tasks_change: Change | None = None
    """Against the parent."""
    items: int
    """Answers behind each pooled figure."""
    formatted: float
    """Share of greedy answers in the form that was asked for."""
    cells: list[SkillCell] = Field(default_factory=list)
    """Skill by skill, mode by mode, then task by task."""


class PanelCell(Config):
    """What one model of the merge panel scored on one cell."""

    accuracy: Interval | None
    """Unset: not measured."""
    weakest: bool
    """It decides for this model."""


class PanelRow(Config):
    """One model of the merge panel."""

    name: str
    """Candidate, or stage of a parent."""
    merged: bool
    """A merge; else a parent as it is."""
    how: str
    """What was merged with what."""
    cells: list[PanelCell]
    """In the order of the panel's columns."""
    mean: Interval | None
    """All required cells together."""
    verdict: str
    """Chosen, level with the best, behind, or why it cannot win."""
    chosen: bool
    """The model that the stage left."""
    seconds: float
    """What merging it took."""


class PanelView(Config):
    """The merge panel, best first."""

    columns: list[str]
    """Cells that decide."""
    rows: list[PanelRow]
    """Best first."""
    why: str
    """Why the winner won."""
    answers: Answers
    """Which answers were counted."""
    confidence: float
    """Of every interval."""
