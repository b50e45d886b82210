"""The picture of post-training: held-out accuracy from base to merge, step by step, and whether each step was a gain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Literal

from tasks.ablation import Outcome as Verdict
from tasks.reporting.axes import Axis, short
from tasks.reporting.interval import Interval
from tasks.reporting.skills_view import Answers, Change, Outcome, SkillStep
from tasks.reporting.svg import WIDTH, cut, frame, text
from tasks.reporting.verdicts import LOOKS, shape, signed

LABEL, RIGHT, TOP, ROW, LANE = 250, 346, 54, 64, 22
LOOK: dict[Outcome, Verdict] = {"gain": "better", "no gain outside its interval": "within noise", "loss": "worse"}
"""A step's outcome has the sign, shape and colour of the verdict that means the same on a court's page."""
FIRST: Verdict = "under-powered"
"""A model without a parent to compare with is a ring."""


def skills_plot(steps: Sequence[SkillStep]) -> str:
    """A row for each model, two lanes: greedy answers above, sampled ones below, and a third for the mean over tasks where any were asked;
    a whisker for the interval, a small ring where the parent stood. SVG text; empty where nothing was measured.
    """
    if not steps:
        return ""
    x = Axis(0.0, 1.0, LABEL, WIDTH - RIGHT)
    tall = ROW + (LANE if any(step.tasks for step in steps) else 0)
    height = TOP + tall * len(steps)
    depths = depths_of(steps)
    before = {step.stage: step for step in steps}
    body = [_legend(), _scale(x, height, tall > ROW)]
    for index, step in enumerate(steps):
        top = TOP + tall * index
        body.append(f'<line class="grid" x1="24" x2="{WIDTH - 8}" y1="{top}" y2="{top}"/>' if index else "")
        body.append(_label(step, depths[step.stage], top))
        parent = before.get(step.parent)
        lanes: list[tuple[Answers | Literal["tasks"], Interval, Change | None, Interval | None]] = [
            ("greedy", step.greedy, step.greedy_change, parent.greedy if parent else None),
            ("sampled", step.sampled, step.sampled_change, parent.sampled if parent else None),
        ]
        if step.tasks is not None:
            lanes.append(("tasks", step.tasks, step.tasks_change, parent.tasks if parent else None))
        for lane, row in enumerate(lanes):
            body.append(_lane(*row, x, top + 21 + LANE * lane))
    return frame("Held-out accuracy from base to merge", height + 44, body, least=820)


def depths_of(steps: Sequence[SkillStep]) -> dict[str, int]:
    """Stage -> how many steps lie between it and the base."""
    found: dict[str, int] = {}
    for step in steps:  # parents come first
        above = [found[name] for name in (step.parent, *step.parents) if name in found]
        found[step.stage] = max(above, default=-1) + 1
    return found


def in_lineage(parents: Mapping[str, Sequence[str]]) -> list[str]:
    """Stages so that children follow their parent, and a merge follows everything it was made of.

    Args:
        parents: stage -> stages its model came from.
    """
    children = {name: [one for one, above in parents.items() if len(above) == 1 and above[0] == name] for name in parents}
    found: list[str] = []

    def walk(name: str) -> None:
        if name not in found:
            found.append(name)
            for child in children[name]:
                walk(child)

    for name, above in parents.items():
        if not any(one in parents for one in above):
            walk(name)
    return [*found, *(name for name in parents if name not in found)]


def _label(step: SkillStep, depth: int, top: float) -> str:
    left = 26 + 14 * min(depth, 5)
    stem = f'<path class="stem" d="M{left - 10},{top + 10}V{top + 30}H{left - 3}"/>' if depth else ""
    origin = f"of {', '.join(step.parents)}" if step.parents else f"from {step.parent}" if step.parent else "the base"
    return (
        f"<g><title>{escape(step.stage)}, {escape(origin)}</title>{stem}"
        + text(left, top + 30, cut(step.stage, 30 - 2 * depth), "label strong")
        + text(left, top + 47, cut(origin, 34 - 2 * depth), "note")
        + "</g>"
    )


def _lane(answers: Answers | Literal["tasks"], value: Interval, change: Change | None, before: Interval | None, x: Axis, y: float) -> str:
    verdict = LOOK[change.outcome] if change else FIRST
    look, at = LOOKS[verdict], x.at(value.value)
    out = []
    if value.low is not None and value.high is not None:
        low, high = x.at(value.low), x.at(value.high)
        out.append(f'<path class="reach {look.tone}" d="M{low},{y}H{high}M{low},{y - 5}v10M{high},{y - 5}v10"/>')
    if before is not None and change is not None:
        out.append(f'<circle class="was" cx="{x.at(before.value)}" cy="{y}" r="3.4"/>')
    out.append(shape(verdict, at, y, 5))
    said = f"{answers} {_interval(value)}"
    if change is not None:
        said += f"  {look.sign} {_words(change)}"
    return "".join(out) + text(WIDTH - RIGHT + 14, y + 4, said, "value strong" if change and change.outcome != NEITHER else "value")


NEITHER: Outcome = "no gain outside its interval"


def _words(change: Change) -> str:
    return "no gain" if change.outcome == NEITHER else f"{change.outcome} {signed(change.difference.value)}"


def _interval(value: Interval) -> str:
    if value.low is None or value.high is None:
        return f"{value.value:.3f}"
    return f"{value.value:.3f} [{value.low:.3f}, {value.high:.3f}]"


def _scale(x: Axis, base: float, tasks: bool) -> str:
    said = "share of right answers to held-out items, all skills and modes" + ("; mean over tasks" if tasks else "")
    out = [f'<line class="axis" x1="{LABEL}" x2="{WIDTH - RIGHT}" y1="{base}" y2="{base}"/>']
    for value in x.ticks(5):
        out.append(f'<line class="grid" x1="{x.at(value)}" x2="{x.at(value)}" y1="{TOP - 6}" y2="{base}"/>')
        out.append(text(x.at(value), base + 16, short(value), "tick", "middle"))
    out.append(text(WIDTH - RIGHT, base + 34, said, "note", "end"))
    return "".join(out)


def _legend() -> str:
    out, left = [], 26.0
    entries: list[tuple[Verdict, str]] = [(LOOK[outcome], f"{LOOKS[LOOK[outcome]].sign} {outcome}") for outcome in LOOK]
    for verdict, words in [*entries, (FIRST, "nothing to compare with")]:
        out.append(shape(verdict, left + 7, 14, 5) + text(left + 20, 18, words))
        left += 44 + 6.6 * len(words)
    out.append(f'<circle class="was" cx="{left + 7}" cy="14" r="3.4"/>' + text(left + 18, 18, "where its parent stood"))
    return "".join(out)
