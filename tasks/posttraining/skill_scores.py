"""`skills.json`: what a model made of held-out items, item by item; every table, interval and comparison is derived from it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from contracts.config import Config
from contracts.errors import InputError
from tasks.data import Side
from tasks.evaluation import Answered
from tasks.posttraining.config import Mode

FILE = "skills.json"
Decoding = Literal["greedy", "sampled"]
DECODINGS: tuple[Decoding, ...] = ("greedy", "sampled")
"""Answered with the likeliest token each time, and sampled at temperature 1, where a gain of reinforcement shows first."""


class Cell(Config):
    """One skill in one mode, answered one way; all lists have one element an item."""

    skill: str
    """Name of the skill."""
    mode: Mode
    """Mode that was asked for."""
    decoding: Decoding
    """How answers were taken."""
    correct: list[int]
    """1: the exact answer."""
    formatted: list[int]
    """1: reasoning exactly where the mode asks for it, and the one line of the answer."""
    cut: list[int]
    """1: the length limit cut the answer."""
    tokens: list[int]
    """Tokens written."""
    reflections: list[int]
    """Reflective phrases ("wait", "let me double-check")."""

    @property
    def name(self) -> str:
        """`add/think/greedy`."""
        return f"{self.skill}/{self.mode}/{self.decoding}"

    @property
    def items(self) -> int:
        """Items asked."""
        return len(self.correct)

    @property
    def accuracy(self) -> float:
        """Share of right answers."""
        return sum(self.correct) / max(1, self.items)

    @property
    def format(self) -> float:
        """Share of answers in form."""
        return sum(self.formatted) / max(1, self.items)


class HeldoutText(Config):
    """One source's held-out documents; both lists have one element a document."""

    bits: list[float]
    """Bits under the model."""
    bytes: list[int]
    """UTF-8 bytes scored."""


class SkillScores(Config):
    """skills.json of a measurement."""

    questions: str
    """Digest of every question with its mode and limits: two measurements compare where it is the same."""
    side: Side
    """Which held-out items were asked: `validation`, or `test` at release."""
    cells: list[Cell]
    """Skills, modes and decodings."""
    tasks: dict[str, Answered] = Field(default_factory=dict)
    """`TASK`, or `TASK/MODE` of one whose answer is written -> its items; empty where none was asked."""
    text: dict[str, HeldoutText] = Field(default_factory=dict)
    """Source -> its held-out text under the model; empty where none was measured."""
    settings: dict[str, str | int | float] = Field(default_factory=dict)
    """Device, precision, versions, limits."""

    def pooled(self, decoding: Decoding, value: Callable[[Cell], float] = lambda cell: cell.accuracy) -> float:
        """Mean over skills and modes."""
        cells = [cell for cell in self.cells if cell.decoding == decoding]
        return sum(map(value, cells)) / max(1, len(cells))

    def of(self, decoding: Decoding) -> dict[str, tuple[int, int]]:
        """`SKILL/MODE` -> (right answers, items)."""
        return {f"{cell.skill}/{cell.mode}": (sum(cell.correct), cell.items) for cell in self.cells if cell.decoding == decoding}

    def of_tasks(self) -> dict[str, tuple[float, int]]:
        """`TASK` or `TASK/MODE` -> (right answers, items); of several attempts at an item the share that is right counts."""
        return {name: (sum(one.right), len(one.right)) for name, one in self.tasks.items()}

    def bits_per_byte(self) -> dict[str, float]:
        """Source -> bits per byte of its held-out text."""
        return {name: sum(one.bits) / sum(one.bytes) for name, one in self.text.items() if sum(one.bytes)}

    def write(self, folder: Path) -> None:
        """Leave it in a folder."""
        (folder / FILE).write_text(json.dumps(self.model_dump(mode="json"), ensure_ascii=False) + "\n", encoding="utf-8")


def read_skills(folder: Path) -> SkillScores:
    """The measurement in an artifact of `measure-STAGE`.

    Raises:
        InputError: there is none that can be read.
    """
    try:
        return SkillScores.parse(json.loads((folder / FILE).read_text(encoding="utf-8")), FILE)
    except (OSError, ValueError) as error:
        raise InputError(f"no measurement can be read: {error}", where=str(folder), do="run the stage measure again") from None


def require_same_questions(scores: Sequence[SkillScores]) -> None:
    """Refuse measurements of different items.

    Raises:
        InputError: they were asked other questions, or in other cells.
    """
    for one in scores[1:]:
        if one.questions != scores[0].questions or _names(one) != _names(scores[0]):
            raise InputError("two measurements do not compare: other questions were asked", do="measure both with the same `evaluation`")


def _names(scores: SkillScores) -> list[str]:
    return [*(cell.name for cell in scores.cells), *scores.tasks]
