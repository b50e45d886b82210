"""The page of a scaling study: log-log plots of learning rate, batch and loss over compute, with power laws and how far they reach."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from tasks.ablation import PowerLaw, ScalingFit, Trial
from tasks.reporting.axes import Axis, short
from tasks.reporting.page import environment, stylesheet
from tasks.reporting.svg import frame, text
from tasks.reporting.view import Link

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 340, 262, 52, 22, 52, 38


def render_scaling(fit: ScalingFit, study: Sequence[Trial], links: Sequence[Link] = ()) -> str:
    """A page that stands alone: HTML text without scripts or addresses from outside; text from data is escaped.

    Args:
        study: the runs that `fit` was made from.
    """
    from markupsafe import Markup  # every label is escaped where the plots are built

    laws = [("learning rate", fit.learning_rate), ("batch in tokens", fit.batch), ("loss", fit.loss)]
    return (
        environment()
        .get_template("scaling.html.j2")
        .render(
            fit=fit, laws=laws, panels=[Markup(svg) for svg in scaling_panels(fit, study)], links=list(links), style=Markup(stylesheet())
        )
    )


def scaling_panels(fit: ScalingFit, study: Sequence[Trial]) -> list[str]:
    """Learning rate, batch and loss over compute, all axes logarithmic. SVG texts.

    Filled dots are near-optimal runs (of the loss: the best of each budget), rings the others; the law is solid over the budgets that were
    tried and dashed beyond, where its interval at the target is drawn.
    """
    near = {name for budget in fit.budgets for name in budget.near}
    best = {budget.best for budget in fit.budgets}
    return [
        _panel("learning rate", fit, study, fit.learning_rate, lambda one: one.learning_rate, near),
        _panel("batch in tokens", fit, study, fit.batch, lambda one: one.batch, near),
        _panel("loss", fit, study, fit.loss, lambda one: one.loss, best),
    ]


def _panel(title: str, fit: ScalingFit, study: Sequence[Trial], law: PowerLaw, of: Callable[[Trial], float], filled: set[str]) -> str:
    budgets = [budget.compute for budget in fit.budgets]
    end = max([*budgets, fit.target or 0.0])
    ends = [v for v in (law.at, law.at_low, law.at_high) if v is not None]
    x = _logarithmic([min(budgets), end], LEFT, WIDTH - RIGHT)
    y = _logarithmic([*(of(one) for one in study), *ends, *(_at(law, c) for c in budgets)], HEIGHT - BOTTOM, TOP)
    exponent = f"∝ C^{law.exponent:.2f} [{law.low:.2f}, {law.high:.2f}]"
    body = [text(0, 16, title, "label strong"), text(WIDTH - RIGHT, 16, exponent.replace("-", "\u2212"), "tick", "end"), _grid(x, y)]
    for one in sorted(study, key=lambda one: one.name in filled):
        tone = "dot c1" if one.name in filled else "seed c0"
        body.append(f'<circle class="{tone}" cx="{_x(x, one.compute)}" cy="{_x(y, of(one))}" r="{4 if one.name in filled else 2.8}"/>')
    body.append(_line(law, x, y, min(budgets), max(budgets), "line c2"))
    if fit.target is not None:
        body += [_line(law, x, y, max(budgets), fit.target, "line c2 thin"), _target(law, x, y, fit.target)]
    return frame(f"{title} over compute", HEIGHT, body, width=WIDTH, kind="plot panel")


def _logarithmic(values: Sequence[float], start: float, end: float) -> Axis:
    low, high = math.log10(min(values)), math.log10(max(values))
    margin = (high - low) * 0.06 or 0.1
    return Axis(low - margin, high + margin, start, end)


def _x(axis: Axis, value: float) -> float:
    return axis.at(math.log10(value))


def _at(law: PowerLaw, compute: float) -> float:
    return law.coefficient * compute**law.exponent


def _line(law: PowerLaw, x: Axis, y: Axis, start: float, end: float, tone: str) -> str:
    ends = [(_x(x, compute), _x(y, _at(law, compute))) for compute in (start, end)]
    return f'<polyline class="{tone}" points="{" ".join(f"{a},{b}" for a, b in ends)}"/>'


def _target(law: PowerLaw, x: Axis, y: Axis, target: float) -> str:
    if law.at is None or law.at_low is None or law.at_high is None:
        return ""
    middle, low, high = _x(x, target), _x(y, law.at_low), _x(y, law.at_high)
    whisker = f'<path class="whisker" d="M{middle},{low}V{high}M{middle - 6},{low}h12M{middle - 6},{high}h12"/>'
    return whisker + f'<circle class="dot c2" cx="{middle}" cy="{_x(y, law.at)}" r="4"/>'


def _grid(x: Axis, y: Axis) -> str:
    out = [f'<circle class="dot c1" cx="{LEFT + 6}" cy="32" r="4"/>', text(LEFT + 15, 36, "near-optimal")]
    out += [f'<line class="line c2" x1="{LEFT + 104}" x2="{LEFT + 120}" y1="32" y2="32"/>', text(LEFT + 125, 36, "law, dashed beyond")]
    for value in _ticks(y):
        out.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{_x(y, value)}" y2="{_x(y, value)}"/>')
        out.append(text(LEFT - 6, _x(y, value) + 4, _number(value), "tick", "end"))
    base = HEIGHT - BOTTOM
    out += [text(_x(x, value), base + 16, _number(value), "tick", "middle") for value in _ticks(x)[-5:]]
    out.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{base}" y2="{base}"/>')
    return "".join(out) + text(WIDTH - RIGHT, base + 32, "compute (FLOPs)", "note", "end")


def _ticks(axis: Axis) -> list[float]:
    """Powers of ten within the axis; where there are fewer than three, also 2 and 5 times them, else plain round numbers."""
    low, high = 10**axis.low, 10**axis.high
    for factors in ((1,), (1, 2, 5)):
        powers = range(math.floor(axis.low), math.ceil(axis.high) + 1)
        found = [factor * 10.0**power for power in powers for factor in factors if low <= factor * 10.0**power <= high]
        if 3 <= len(found) <= 7:
            return found
    return (
        Axis(low, high, 0, 1).ticks(4) if high < 10 * low else [10.0**p for p in range(math.ceil(axis.low), math.floor(axis.high) + 1, 2)]
    )


def _number(value: float) -> str:
    return short(value) if 1e-3 <= value < 1e7 else f"{value:.0e}".replace("e+0", "e").replace("e-0", "e-").replace("e+", "e")
