"""Line plots as SVG text: loss with phases and held-out loss, learning rate, throughput."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

from tasks.reporting.axes import Axis, short, span
from tasks.reporting.svg import WIDTH, frame
from tasks.reporting.view import PhaseCurve, Points

LEFT, RIGHT, TOP, BOTTOM = 64, 16, 30, 40
MAX_POINTS = 1200


@dataclass(frozen=True)
class Series:
    """One line of a plot. `colour` is 1 to 4, a place in the colour-blind safe palette; `faint` is drawn thin behind the others."""

    label: str
    points: Points
    colour: int = 1
    faint: bool = False
    dots: bool = False


@dataclass(frozen=True)
class Plot:
    """A line plot: series over one x axis, bands in the background."""

    title: str
    y_label: str
    series: Sequence[Series]
    bands: Sequence[tuple[str, float, float]] = field(default_factory=tuple)
    x_label: str = "tokens seen"
    height: int = 320
    zero: bool = False


def line_plot(plot: Plot) -> str:
    """SVG of a line plot; says so where nothing was logged."""
    drawn = [Series(s.label, _finite(s.points), s.colour, s.faint, s.dots) for s in plot.series]
    drawn = [s for s in drawn if s.points]
    if not drawn:
        return _empty(plot.title)
    xs = [x for s in drawn for x, _ in s.points] + [edge for _, a, b in plot.bands for edge in (a, b)]
    x = Axis(min(xs), max(xs), LEFT, WIDTH - RIGHT)
    low, high = span([v for s in drawn for _, v in s.points], zero=plot.zero)
    y = Axis(low, high + (high - low) * (0.24 if plot.height < 250 else 0.04), plot.height - BOTTOM, TOP)  # room for the phases' names
    body = [_bands(plot, x), _grid(plot, x, y), *[_series(s, x, y) for s in drawn], _legend(drawn)]
    return frame(plot.title, plot.height, body)


def loss_plot(phases: Sequence[PhaseCurve], x_label: str = "tokens seen") -> str:
    """Training loss (raw and smoothed) and held-out loss, one band per phase. SVG text."""
    raw: Points = [point for phase in phases for point in phase.loss]
    series = [Series("", raw, 1, faint=True), Series("training loss (smoothed)", smooth(raw), 1)]
    names = sorted({name for phase in phases for name in phase.eval_loss})
    for index, name in enumerate(names):
        points = [point for phase in phases for point in phase.eval_loss.get(name, [])]
        series.append(Series(f"held out: {name}" if name else "held-out loss", points, 2 + index % 3, dots=True))
    return line_plot(Plot(f"Loss over {x_label}", "loss (nats per token)", series, bands(phases), x_label, height=360))


def rate_plot(phases: Sequence[PhaseCurve]) -> str:
    """Learning rate over tokens. SVG text."""
    points = [point for phase in phases for point in phase.learning_rate]
    series = [Series("learning rate", points, 2)]
    return line_plot(Plot("Learning rate over tokens seen", "learning rate", series, bands(phases), height=170, zero=True))


def throughput_plot(phases: Sequence[PhaseCurve]) -> str:
    """Tokens per second over tokens. SVG text."""
    points = [point for phase in phases for point in phase.throughput]
    series = [Series("", points, 3, faint=True), Series("tokens per second (smoothed)", smooth(points), 3)]
    return line_plot(Plot("Throughput over tokens seen", "tokens/s", series, bands(phases), height=200, zero=True))


def bands(phases: Sequence[PhaseCurve]) -> list[tuple[str, float, float]]:
    """(name, first token, last token) of each phase."""
    return [(phase.name, phase.start_tokens, phase.end_tokens) for phase in phases if phase.end_tokens > phase.start_tokens]


def smooth(points: Points, share: float = 0.06) -> Points:
    """Centred running mean over `share` of the points; the ends use what there is."""
    half = max(1, int(len(points) * share / 2))
    out: Points = []
    for index, (x, _) in enumerate(points):
        reach = min(half, index, len(points) - 1 - index)
        window = [y for _, y in points[index - reach : index + reach + 1]]
        out.append((x, sum(window) / len(window)))
    return out


def _finite(points: Points) -> Points:
    kept = [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]
    stride = max(1, len(kept) // MAX_POINTS)
    return kept[::stride] + ([kept[-1]] if kept and (len(kept) - 1) % stride else [])


def _bands(plot: Plot, x: Axis) -> str:
    out = []
    for index, (name, start, end) in enumerate(plot.bands):
        left, right = x.at(start), x.at(end)
        tone = "band" if index % 2 == 0 else "band alt"
        out.append(
            f'<rect class="{tone}" x="{left}" y="{TOP}" width="{max(0.0, right - left):.2f}" height="{plot.height - BOTTOM - TOP}"/>'
        )
        if right - left > 7 * len(name):
            out.append(f'<text class="note" x="{(left + right) / 2:.1f}" y="{TOP + 16}" text-anchor="middle">{escape(name)}</text>')
    return "".join(out)


def _grid(plot: Plot, x: Axis, y: Axis) -> str:
    out = []
    for value in y.ticks(max(2, plot.height // 60)):
        out.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y.at(value)}" y2="{y.at(value)}"/>')
        out.append(f'<text class="tick" x="{LEFT - 8}" y="{y.at(value) + 4}" text-anchor="end">{short(value)}</text>')
    base = plot.height - BOTTOM
    for value in x.ticks(8):
        out.append(f'<text class="tick" x="{x.at(value)}" y="{base + 17}" text-anchor="middle">{short(value)}</text>')
    out.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{base}" y2="{base}"/>')
    out.append(f'<text class="note" x="{WIDTH - RIGHT}" y="{base + 34}" text-anchor="end">{escape(plot.x_label)}</text>')
    out.append(f'<text class="note" x="{LEFT}" y="16" text-anchor="start">{escape(plot.y_label)}</text>')
    return "".join(out)


def _series(series: Series, x: Axis, y: Axis) -> str:
    path = " ".join(f"{x.at(a)},{y.at(b)}" for a, b in series.points)
    tone = f"line c{series.colour}" + (" faint" if series.faint else "") + (" thin" if series.dots else "")
    line = f'<polyline class="{tone}" points="{path}"/>' if len(series.points) > 1 else ""
    if not series.dots and len(series.points) > 1:
        return line
    dots = [f'<circle class="dot c{series.colour}" cx="{x.at(a)}" cy="{y.at(b)}" r="3.4"/>' for a, b in series.points]
    return line + "".join(dots)


def _legend(series: Sequence[Series]) -> str:
    named = [s for s in series if s.label]
    out, right = [], float(WIDTH - RIGHT)
    for s in reversed(named if len(named) > 1 else []):
        right -= 6.6 * len(s.label) + 34
        mark = f'<circle class="dot c{s.colour}" cx="{right + 10:.0f}" cy="12" r="3.6"/>'
        stroke = f'<line class="line c{s.colour}" x1="{right:.0f}" x2="{right + 20:.0f}" y1="12" y2="12"/>'
        out.append((mark if s.dots else "") + stroke + f'<text class="tick" x="{right + 26:.0f}" y="16">{escape(s.label)}</text>')
    return "".join(out)


def _empty(title: str) -> str:
    return frame(title, 60, [f'<text class="note" x="{LEFT}" y="34">{escape(title)}: nothing was logged</text>'])
