"""The page of a qualification: which metrics may vote, with the curve of every seed and the numbers that decide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tasks.evaluation import MetricQualification, QualificationResult, Thresholds
from tasks.reporting.axes import Axis, short, span
from tasks.reporting.page import environment, stylesheet
from tasks.reporting.svg import cut, frame, text
from tasks.reporting.verdicts import metric_words
from tasks.reporting.view import Link

if TYPE_CHECKING:
    from markupsafe import Markup

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 340, 222, 42, 10, 46, 36


@dataclass(frozen=True)
class Number:
    """One criterion of one metric: what was found, and whether it holds; None where it is only reported or does not apply."""

    value: str
    holds: bool | None


@dataclass(frozen=True)
class Standing:
    """A qualification with its plots, ready for a template."""

    result: QualificationResult
    summary: str
    rows: list[tuple[str, MetricQualification, list[Number]]]
    panels: list[Markup]


def render_qualification(result: QualificationResult, links: Sequence[Link] = ()) -> str:
    """A page that stands alone: HTML text without scripts or addresses from outside; text from data is escaped."""
    from markupsafe import Markup

    page = environment().get_template("qualification.html.j2")
    return page.render(standing=standing(result), links=list(links), style=Markup(stylesheet()))


def standing(result: QualificationResult) -> Standing:
    """Rows and plots of a qualification; what qualified comes first."""
    from markupsafe import Markup  # every label is escaped where the plots are built

    order = sorted(result.metrics, key=lambda metric: (not result.metrics[metric].passed, metric))
    passed = sum(one.passed for one in result.metrics.values())
    return Standing(
        result=result,
        summary=f"{passed} of {len(order)} metrics may vote.",
        rows=[(metric, result.metrics[metric], numbers(result.metrics[metric], result.thresholds)) for metric in order],
        panels=[Markup(curve_panel(result, metric)) for metric in order],
    )


def numbers(found: MetricQualification, bounds: Thresholds) -> list[Number]:
    """Monotonicity, signal to noise, distance from random, consistency of the ordering (reported only), each against its bound."""
    noise = _number(found.signal_to_noise, bounds.signal_to_noise)
    return [
        _number(found.monotonicity, bounds.monotonicity),
        Number(f"{noise.value} (exempt)", None) if found.generative else noise,
        _number(found.above_random, bounds.above_random),
        Number("-" if found.ordering_consistency is None else f"{found.ordering_consistency:.2f}", None),
    ]


def curve_panel(result: QualificationResult, metric: str) -> str:
    """One metric over tokens: a line for each seed of the baseline, thin dashed ones for other models, and what knows nothing. SVG text."""
    found = result.metrics[metric]
    curves = [(arm == result.arms[0], points) for arm in result.arms for points in result.curves[metric].get(arm, {}).values() if points]
    title = text(0, 16, f"{'✓' if found.passed else '✕'} {cut(metric_words(metric), 30)}", "label strong")
    title += text(WIDTH - RIGHT, 16, "may vote" if found.passed else "reported only", "tick", "end")
    if not curves:
        return frame(metric_words(metric), 60, [title, text(0, 40, "no evaluation has it", "note")], width=WIDTH, kind="plot panel")
    random = [found.baseline.value] if found.baseline else []
    x = Axis(0.0, max(tokens for _, points in curves for tokens, _ in points), LEFT, WIDTH - RIGHT)
    y = Axis(*span([value for _, points in curves for _, value in points] + random), HEIGHT - BOTTOM, TOP)
    body = [title, _key(len(result.arms) > 1, found), _grid(x, y, found)]
    if found.baseline:
        level = y.at(found.baseline.value)
        body.append(f'<line class="line c2 thin" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{level}" y2="{level}"/>')
    for own, points in sorted(curves, key=lambda one: one[0]):
        path = " ".join(f"{x.at(a)},{y.at(b)}" for a, b in points)
        body.append(f'<polyline class="line {"c1 seedline" if own else "c0 thin"}" points="{path}"/>')
    return frame(f"{metric_words(metric)} over tokens seen", HEIGHT, body, width=WIDTH, kind="plot panel")


def _number(value: float | None, least: float) -> Number:
    return Number("not defined", False) if value is None else Number(f"{value:.3g}", value >= least)


def _key(others: bool, found: MetricQualification) -> str:
    entries = [("c1", "a seed"), *([("c0 thin", "other model")] if others else [])]
    entries += [("c2 thin", cut(found.baseline.what.removeprefix("the "), 18))] if found.baseline else []
    out, left = [], 0.0
    for tone, words in entries:
        out.append(f'<line class="line {tone}" x1="{left}" x2="{left + 18}" y1="32" y2="32"/>{text(left + 23, 36, words)}')
        left += 36 + 6.4 * len(words)
    return "".join(out)


def _grid(x: Axis, y: Axis, found: MetricQualification) -> str:
    out = []
    for value in y.ticks(4):
        out.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y.at(value)}" y2="{y.at(value)}"/>')
        out.append(text(LEFT - 6, y.at(value) + 4, short(value), "tick", "end"))
    base = HEIGHT - BOTTOM
    out += [text(x.at(value), base + 15, short(value), "tick", "middle") for value in x.ticks(4)]
    out.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{base}" y2="{base}"/>')
    better = "lower is better" if found.lower_is_better else "higher is better"
    return "".join(out) + text(LEFT, base + 30, better, "note") + text(WIDTH - RIGHT, base + 30, "tokens seen", "note", "end")
