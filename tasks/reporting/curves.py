"""Learning curves of a court as small SVG panels: each arm beside the baseline, with a band over seeds."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from statistics import fmean

from tasks.ablation import BASELINE, CourtResult, Run
from tasks.reporting.axes import Axis, short
from tasks.reporting.lines import smooth
from tasks.reporting.svg import frame, text
from tasks.reporting.verdicts import LOOKS, absence, changed_arms, named, runs_of
from tasks.reporting.view import Points

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 340, 232, 42, 10, 46, 36
START = 0.2
"""Share of the tokens after which the scale is chosen: the first fall would hide every difference."""
Band = list[tuple[float, float, float, float]]


def heldout_panels(court: CourtResult) -> list[str]:
    """Held-out loss (mean over sources, nats per token) of every arm against the baseline; empty where no run has two points. SVG texts."""
    return _panels(court, _heldout, "held-out loss")


def training_panels(court: CourtResult) -> list[str]:
    """Training loss (smoothed, nats per token) of every arm against the baseline; empty where none was logged. SVG texts."""
    return _panels(court, lambda run: smooth([point for point in run.loss if math.isfinite(point[1])]), "training loss")


def seed_band(curves: Sequence[Points]) -> Band:
    """(x, lowest, mean, highest) over the curves of several seeds, at every x of any of them that all reach; linear in between."""
    curves = [curve for curve in curves if curve]
    if not curves:
        return []
    first, last = max(curve[0][0] for curve in curves), min(curve[-1][0] for curve in curves)
    found = []
    for x in sorted({x for curve in curves for x, _ in curve if first <= x <= last}):
        values = [_at(curve, x) for curve in curves]
        found.append((x, min(values), fmean(values), max(values)))
    return found


def _panels(court: CourtResult, curve: Callable[[Run], Points], label: str) -> list[str]:
    bands = {arm: seed_band([curve(run) for run in runs_of(court, arm) if run.diverged_at is None]) for arm in court.arms}
    stopped = {arm: [points for run in runs_of(court, arm) if run.diverged_at is not None and (points := curve(run))] for arm in court.arms}
    if all(len(band) < 2 for band in bands.values()):  # measured once, at the end: that is a number, no curve
        return []
    scale = _scale([*bands.values()])
    return [_panel(court, arm, bands[BASELINE], bands[arm], stopped[arm], scale, label) for arm in changed_arms(court)]


def _scale(bands: Sequence[Band]) -> tuple[Axis, Axis]:
    points = [point for band in bands for point in band]
    end = max(x for x, *_ in points)
    late = [point for point in points if point[0] >= START * end] or points
    low, high = min(p[1] for p in late), max(p[3] for p in late)
    margin = (high - low) * 0.06 or 0.1
    return Axis(0.0, end, LEFT, WIDTH - RIGHT), Axis(low - margin, high + margin, HEIGHT - BOTTOM, TOP)


def _panel(court: CourtResult, arm: str, base: Band, band: Band, stopped: Sequence[Points], scale: tuple[Axis, Axis], label: str) -> str:
    x, y = scale
    inside = [_filled(base, x, y, "c0"), _filled(band, x, y, "c1"), _line(base, x, y, "c0"), _line(band, x, y, "c1")]
    inside += [_stop(points, x, y) for points in stopped]
    if not band and not stopped:
        inside.append(text(WIDTH - RIGHT - 6, TOP + 18, f"this arm: nothing logged ({absence(runs_of(court, arm))})", "note", "end"))
    box = f"{WIDTH - LEFT - RIGHT} {HEIGHT - TOP - BOTTOM}"
    wide, high = box.split()
    plot = f'<svg x="{LEFT}" y="{TOP}" width="{wide}" height="{high}" viewBox="{LEFT} {TOP} {box}">'  # cuts off what lies beyond
    head = text(0, 16, named(arm, 24), "label strong") + text(WIDTH - RIGHT, 16, _verdict(court, arm), "tick", "end")
    key = f'<line class="line c1" x1="{LEFT}" x2="{LEFT + 18}" y1="32" y2="32"/>{text(LEFT + 24, 36, "this arm")}'
    key += f'<line class="line c0" x1="{LEFT + 92}" x2="{LEFT + 110}" y1="32" y2="32"/>{text(LEFT + 116, 36, BASELINE)}'
    body = [head, key, _grid(x, y, label), plot, *inside, "</svg>"]
    return frame(f"{arm}: {label} against the baseline", HEIGHT, body, width=WIDTH, kind="plot panel")


def _verdict(court: CourtResult, arm: str) -> str:
    runs, effect = runs_of(court, arm), court.effect(arm, court.metric)
    lost = sum(run.diverged_at is not None for run in runs)
    if lost:
        return f"⚠ diverged: {lost} of {len(runs)} runs"
    return f"{LOOKS[effect.outcome].sign} {effect.outcome}" if effect and effect.value is not None else f"– {absence(runs)}"


def _grid(x: Axis, y: Axis, label: str) -> str:
    out = []
    for value in y.ticks(4):
        out.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y.at(value)}" y2="{y.at(value)}"/>')
        out.append(text(LEFT - 6, y.at(value) + 4, short(value), "tick", "end"))
    base = HEIGHT - BOTTOM
    out += [text(x.at(value), base + 15, short(value), "tick", "middle") for value in x.ticks(4)]
    out.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{base}" y2="{base}"/>')
    return "".join(out) + text(LEFT, base + 30, label, "note") + text(WIDTH - RIGHT, base + 30, "tokens seen", "note", "end")


def _line(band: Band, x: Axis, y: Axis, tone: str) -> str:
    path = " ".join(f"{x.at(a)},{_beyond(y, mean)}" for a, _, mean, _ in band)
    return f'<polyline class="line {tone}" points="{path}"/>' if band else ""


def _filled(band: Band, x: Axis, y: Axis, tone: str) -> str:
    if not band:
        return ""
    edge = [f"{x.at(a)},{_beyond(y, high)}" for a, _, _, high in band] + [f"{x.at(a)},{_beyond(y, low)}" for a, low, _, _ in reversed(band)]
    return f'<polygon class="spread {tone}" points="{" ".join(edge)}"/>'


def _stop(points: Points, x: Axis, y: Axis) -> str:
    """The curve of a run that diverged, to the step at which it was stopped."""
    path = " ".join(f"{x.at(a)},{_beyond(y, b)}" for a, b in points)
    end_x, end_y = x.at(points[-1][0]), min(max(_beyond(y, points[-1][1]), TOP + 8), HEIGHT - BOTTOM - 8)
    cross = f'<path class="stop" d="M{end_x - 6},{end_y - 6}l12,12m0,-12l-12,12"><title>stopped as diverged</title></path>'
    return f'<polyline class="line c2 thin" points="{path}"/>' + cross


def _beyond(y: Axis, value: float) -> float:
    """Pixel of a value, also outside the axis: the panel cuts it off."""
    return round(y.start + (value - y.low) / (y.high - y.low) * (y.end - y.start), 2)


def _heldout(run: Run) -> Points:
    """Mean over sources at every point that each of them has."""
    by_source = [dict(points) for points in run.heldout.values() if points]
    shared = sorted(set.intersection(*map(set, by_source))) if by_source else []
    found = [(x, fmean(values[x] for values in by_source)) for x in shared]
    return [(x, y) for x, y in found if math.isfinite(y)]


def _at(curve: Points, x: float) -> float:
    index = bisect_left(curve, (x,))
    if index == 0 or (index < len(curve) and curve[index][0] == x):
        return curve[min(index, len(curve) - 1)][1]
    (x0, y0), (x1, y1) = curve[index - 1], curve[min(index, len(curve) - 1)]
    return y0 if x1 == x0 else y0 + (y1 - y0) * (x - x0) / (x1 - x0)
