"""A sweep over one field as a response curve, as SVG text: runs by seed, their means, and the arms as good as the best."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from statistics import fmean
from typing import Any

from tasks.ablation import BASELINE, CourtResult
from tasks.reporting.axes import Axis, short, span
from tasks.reporting.heat import best_arm, leaf, near_best, said, sweep_values
from tasks.reporting.svg import WIDTH, frame, text
from tasks.reporting.verdicts import absence, metric_words, runs_of

HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 330, 70, 24, 54, 44


def response_plot(court: CourtResult, name: str) -> str:
    """The court's metric over the one axis of the sweep `name`: a dot for each run, a line through the means, the baseline's mean level.

    The best point is starred and those within the tolerance of it are marked. SVG text.
    """
    ((path, axis),) = court.sweeps[name].items()
    places, logarithmic = positions(axis)
    arms = {arm: place for value, place in zip(axis, places, strict=True) for arm in _arms(court, name, path, value)}
    dots = {arm: [run.metrics[court.metric] for run in runs_of(court, arm) if court.metric in run.metrics] for arm in arms}
    base = [run.metrics[court.metric] for run in runs_of(court, BASELINE) if court.metric in run.metrics]
    levels = [value for values in (*dots.values(), base) for value in values]
    if not levels:
        return frame(f"Response to {leaf(path)}", 60, [text(LEFT, 34, f"Response to {leaf(path)}: nothing was measured", "note")])
    x = Axis(*span(places, pad=0.06), LEFT, WIDTH - RIGHT)
    y = Axis(*span(levels, pad=0.16), HEIGHT - BOTTOM, TOP)
    body = [_grid(court, path, axis, places, x, y, logarithmic), _baseline(base, y)]
    means = [(place, fmean(dots[arm])) for arm, place in sorted(arms.items(), key=lambda one: one[1]) if dots[arm]]
    body.append(f'<polyline class="line c1" points="{" ".join(f"{x.at(a)},{y.at(b)}" for a, b in means)}"/>')
    for arm, place in arms.items():
        body.append(_point(court, name, arm, dots[arm], x.at(place), y))
    return frame(f"Response to {leaf(path)}", HEIGHT, [*body, _legend()])


def positions(axis: Sequence[Any]) -> tuple[list[float], bool]:
    """Where each value lies: its number, or log10 of it where they span more than fourfold; of a mixture the share that varies.

    Values that are no numbers are placed in order. The flag says whether the places are logarithms.
    """
    numbers = [_number(value, axis) for value in axis]
    known = [number for number in numbers if number is not None]
    if len(known) < len(numbers):
        return [float(index) for index in range(len(axis))], False
    if not any(isinstance(value, Mapping) for value in axis) and min(known) > 0 and max(known) > 4 * min(known):
        return [math.log10(number) for number in known], True
    return known, False


def _number(value: Any, axis: Sequence[Any]) -> float | None:
    if isinstance(value, Mapping):
        varies = next((key for key in value if len({str(one.get(key)) for one in axis if isinstance(one, Mapping)}) > 1), None)
        return _number(value.get(varies), axis) if varies is not None else None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _arms(court: CourtResult, name: str, path: str, value: Any) -> list[str]:
    return [arm for arm, point in court.points.items() if arm.partition("[")[0] == name and path in point and point[path] == value]


def _grid(court: CourtResult, path: str, axis: Sequence[Any], places: Sequence[float], x: Axis, y: Axis, logarithmic: bool) -> str:
    lower = next((e.lower_is_better for e in court.effects if e.metric == court.metric), True)
    out = [text(LEFT, 16, f"{metric_words(court.metric)} ({'lower' if lower else 'higher'} is better)", "note")]
    for value in y.ticks(5):
        out.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y.at(value)}" y2="{y.at(value)}"/>')
        out.append(text(LEFT - 8, y.at(value) + 4, short(value), "tick", "end"))
    base = HEIGHT - BOTTOM
    out.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{base}" y2="{base}"/>')
    for value, place in zip(axis, places, strict=True):
        out.append(text(x.at(place), base + 17, said(value), "tick", "middle"))
    scale = " (logarithmic)" if logarithmic else ""
    return "".join(out) + text(WIDTH - RIGHT, base + 36, f"{leaf(path)}{scale}", "note", "end")


def _baseline(values: Sequence[float], y: Axis) -> str:
    if not values:
        return ""
    top, bottom, middle = y.at(max(values)), y.at(min(values)), y.at(fmean(values))
    return (
        f'<rect class="spread c0" x="{LEFT}" y="{top}" width="{WIDTH - LEFT - RIGHT}" height="{bottom - top:.2f}"/>'
        f'<line class="line c0" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{middle}" y2="{middle}"/>'
    )


def _point(court: CourtResult, name: str, arm: str, values: Sequence[float], x: float, y: Axis) -> str:
    means = sweep_values(court, name)
    if not values:
        why = absence([run for run in runs_of(court, arm) if not run.metrics])
        return text(x, HEIGHT - BOTTOM - 10, f"✕ {why}", "tick", "middle")
    out = [
        f'<circle class="seed c1" cx="{x}" cy="{y.at(value)}" r="4"><title>{escape(arm)}: {value:.4f}</title></circle>' for value in values
    ]
    mark = "★ best" if arm == best_arm(court, means) else "●" if arm in near_best(court, name, means) else ""
    return "".join(out) + (text(x, y.at(min(values)) + 22, mark, "value strong", "middle") if mark else "")


def _legend() -> str:
    entries = [("c1", "mean of seeds; a dot is one run"), ("c0", "baseline, band over its seeds")]
    out, left = [], float(LEFT)
    for tone, words in entries:
        out.append(f'<line class="line {tone}" x1="{left}" x2="{left + 20}" y1="36" y2="36"/>{text(left + 26, 40, words)}')
        left += 60 + 6.4 * len(words)
    return "".join(out) + text(left, 40, "● within tolerance of the best")
