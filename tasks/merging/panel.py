"""The panel: merges and unmerged parents side by side, the best one chosen by its weakest skill, by interval and not by point.

A mean hides what a merge lost; the weakest skill does not (Smol Training Playbook, model merging: preference training had cost long-context
recall). Many candidates on few items make a lucky one: what cannot be told apart is treated as equal, and then the simpler model wins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

from pydantic import Field

from contracts.config import Config
from contracts.errors import GateError
from tasks.evaluation import wilson
from tasks.merging.config import MergingConfig

CONFIDENCE = 0.95


class Share(Config):
    """Right answers to a number of items, with the Wilson interval of their share."""

    items: int = Field(ge=1)
    """Items asked."""
    correct: float = Field(ge=0)
    """Right answers; of an item with several attempts the share that is right counts."""
    low: float
    """Lower end of the interval."""
    high: float
    """Upper end of the interval."""

    @classmethod
    def of(cls, correct: float, items: int, confidence: float = CONFIDENCE) -> Self:
        """With its interval (Wilson 1927)."""
        low, high = wilson(correct, items, confidence)
        return cls(items=items, correct=correct, low=low, high=high)

    @property
    def value(self) -> float:
        """The share itself."""
        return self.correct / self.items


class Contestant(Config):
    """A model of the panel, measured."""

    name: str
    """Name of the candidate, or stage of the parent."""
    merged: bool
    """A merge; else a parent as it is."""
    how: str = ""
    """What was merged with what, in words."""
    cells: dict[str, tuple[float, int]]
    """`SKILL/MODE`, `TASK/MODE` or `TASK` -> (right answers, items)."""
    seconds: float = 0.0
    """What merging it took."""


class Standing(Config):
    """One row of the panel."""

    name: str
    """Name of the candidate, or stage of the parent."""
    merged: bool
    """A merge; else a parent as it is."""
    how: str
    """What was merged with what, in words."""
    cells: dict[str, Share]
    """Everything it was measured on."""
    weakest: str
    """Which of the required cells is weakest, by the lower end of its interval."""
    pooled: Share | None
    """All required cells together."""
    missing: list[str]
    """What is required and was not measured; a row with any of it cannot win."""
    level: bool
    """It cannot be told from the best: its weakest skill's interval reaches that of the best."""
    seconds: float
    """What merging it took."""


class Panel(Config):
    """panel.json: every contestant, best first."""

    answers: str
    """Whether greedy or sampled answers were counted."""
    required: list[str]
    """Cells that decide."""
    confidence: float
    """Of every interval."""
    standings: list[Standing]
    """Best first; those that cannot win last."""
    winner: str
    """The model that the stage leaves."""
    why: str
    """Why it won, in a sentence."""

    @property
    def best(self) -> Standing:
        """The winner's row."""
        return next(row for row in self.standings if row.name == self.winner)


def rank(contestants: Sequence[Contestant], config: MergingConfig, confidence: float = CONFIDENCE) -> Panel:
    """Choose.

    Each contestant stands for the lower end of its weakest required cell. Those whose weakest interval reaches the best one's are level; of
    these, those whose mean over all required cells reaches the best mean's interval; of these, a parent before a merge; of these, the
    highest mean.

    Raises:
        GateError: no contestant was measured on everything that is required.
    """
    required = _required(contestants, config.required_tasks)
    rows = [_standing(one, required, confidence) for one in contestants]
    able = [row for row in rows if not row.missing]
    if not able:
        gaps = "; ".join(f"{row.name} lacks {', '.join(row.missing)}" for row in rows)
        raise GateError(
            f"no model of the panel was measured on everything that must be: {gaps}",
            where="merge",
            do="name skills and tasks in merging.required_tasks that the evaluation measures, or have it measure them",
        )
    top = max(able, key=lambda row: row.cells[row.weakest].low)
    level = _reaching(able, lambda row: row.cells[row.weakest])
    close = _reaching(level, lambda row: _known(row.pooled))
    simplest = [row for row in close if not row.merged] or close
    winner = max(simplest, key=lambda row: _known(row.pooled).value)
    rows = [row.model_copy(update={"level": any(row is one for one in level)}) for row in rows]
    return Panel(
        answers=config.answers,
        required=required,
        confidence=confidence,
        standings=sorted(rows, key=lambda row: _place(row, winner.name)),
        winner=winner.name,
        why=_why(winner, top, level, close),
    )


def merge_problems(evidence: Mapping[str, Any], config: MergingConfig) -> list[str]:
    """What speaks against the winner of a panel, from the evidence of the stage `merge`, under the bounds that hold now.

    Refused is a weakest skill that lies more than `max_regression` below the best parent's, where the interval of the difference (Newcombe
    1998) shows that it fell at all: a fall within the noise of the items stops nobody. What is not required can be lost all the same (a
    merge that holds its recall and follows instructions no more), so everything that the winner and this parent were both measured on is
    held too: refused is a drop whose whole interval lies beyond `max_cell_regression`.
    """
    if "panel" not in evidence:
        return ["no panel was recorded: nothing says how the merge compares with its parents"]
    panel = Panel.parse(evidence["panel"], "evidence of merge")
    best = panel.best
    if best.missing:
        return [f"{best.name} was not measured on {one}, which is required" for one in best.missing]
    parents = [row for row in panel.standings if not row.merged and not row.missing and row is not best]
    if not parents:
        return []
    rival = max(parents, key=lambda row: row.cells[row.weakest].value)
    before, after = rival.cells[rival.weakest], best.cells[best.weakest]
    problems = []
    if before.value - after.value > config.max_regression and _surely(before, after, panel.confidence) > 0:
        problems.append(
            f"weakest skill of {best.name} is {best.weakest} with {after.value:.3f}, the weakest of its parent {rival.name} is "
            f"{rival.weakest} with {before.value:.3f}: a drop of more than {config.max_regression:g}, beyond what chance does"
        )
    shared = [(name, rival.cells[name], best.cells[name]) for name in rival.cells if name in best.cells]
    return problems + [
        f"{name} of {best.name} is at {now.value:.3f}, of its parent {rival.name} at {was.value:.3f}: surely lost is {lost:.3f}, more than"
        f" {config.max_cell_regression:g}"
        for name, was, now in shared
        if (lost := _surely(was, now, panel.confidence)) > config.max_cell_regression
    ]


def _required(contestants: Sequence[Contestant], named: Sequence[str]) -> list[str]:
    """Cells that decide; a skill or task stands for all its modes that anybody was measured in."""
    measured = list(dict.fromkeys(cell for one in contestants for cell in one.cells))
    found = [[cell for cell in measured if cell == name or cell.partition("/")[0] == name] or [name] for name in named]
    return list(dict.fromkeys(cell for cells in found for cell in cells)) or measured


def _standing(one: Contestant, required: Sequence[str], confidence: float) -> Standing:
    cells = {name: Share.of(*counted, confidence) for name, counted in one.cells.items()}
    there = [name for name in required if name in cells]
    right, items = sum(one.cells[name][0] for name in there), sum(one.cells[name][1] for name in there)
    return Standing(
        name=one.name,
        merged=one.merged,
        how=one.how,
        cells=cells,
        weakest=min(there, key=lambda name: cells[name].low, default=""),
        pooled=Share.of(right, items, confidence) if there else None,
        missing=[name for name in required if name not in cells],
        level=False,
        seconds=one.seconds,
    )


def _reaching(rows: Sequence[Standing], share: Any) -> list[Standing]:
    """Rows whose interval overlaps that of the row with the highest lower end."""
    bar = max(share(row).low for row in rows)
    return [row for row in rows if share(row).high >= bar]


def _known(share: Share | None) -> Share:
    assert share is not None, "a row that can win was measured"
    return share


def _place(row: Standing, winner: str) -> tuple[bool, bool, bool, float]:
    weakest = row.cells[row.weakest].low if row.weakest else 0.0
    return bool(row.missing), row.name != winner, not row.level, -weakest


def _why(winner: Standing, top: Standing, level: Sequence[Standing], close: Sequence[Standing]) -> str:
    weakest = winner.cells[winner.weakest]
    said = f"its weakest skill, {winner.weakest}, is at {weakest.value:.3f} [{weakest.low:.3f}, {weakest.high:.3f}]"
    if len(level) == 1:
        return f"{said}; that of no other model reaches this interval"
    others = len(level) - 1
    said += f"; {others} other{'s' * (others != 1)} cannot be told from the best by the weakest skill"
    if len(close) == 1:
        return f"{said}, and the mean over all required cells is above theirs"
    if not winner.merged and any(row.merged for row in close):
        return f"{said}, nor by the mean: a parent as it is goes before a merge that is not measurably better"
    return f"{said}, nor by the mean; its own is the highest" + (", and no parent is among them" if winner.merged else "")


def _surely(before: Share, after: Share, confidence: float) -> float:
    """Lower end of the interval of `before - after` for independent shares (Newcombe 1998, method 10)."""
    from statsmodels.stats.proportion import confint_proportions_2indep

    low, _ = confint_proportions_2indep(
        before.correct, before.items, after.correct, after.items, method="newcomb", compare="diff", alpha=1 - confidence
    )
    return float(low)
