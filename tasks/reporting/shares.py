"""Response of a metric to the share of one source as SVG text: every run, the fitted parabola with its band, and its optimum."""

from __future__ import annotations

from tasks.ablation import Response
from tasks.reporting.axes import Axis, short, span
from tasks.reporting.svg import WIDTH, frame, text
from tasks.reporting.verdicts import metric_words

HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 330, 70, 24, 54, 44


def share_plot(response: Response) -> str:
    """A dot for each run over the source's share; the fit and the interval of its mean; the optimum with its interval as an upright band.

    SVG text.
    """
    x = Axis(*span([share for share, _ in response.runs], pad=0.05), LEFT, WIDTH - RIGHT)
    heights = [value for _, value in response.runs] + [end for _, _, low, high in response.curve for end in (low, high)]
    y = Axis(*span(heights), HEIGHT - BOTTOM, TOP)
    edge = [(a, high) for a, _, _, high in response.curve] + [(a, low) for a, _, low, _ in reversed(response.curve)]
    body = [_grid(response, x, y), _optimum(response, x)]
    body.append(f'<polygon class="spread c1" points="{_path(edge, x, y)}"/>')
    body.append(f'<polyline class="line c1" points="{_path([(a, fitted) for a, fitted, _, _ in response.curve], x, y)}"/>')
    body += [
        f'<circle class="seed c1" cx="{x.at(a)}" cy="{y.at(b)}" r="4"><title>{a:.0%}: {b:.4f}</title></circle>' for a, b in response.runs
    ]
    return frame(f"Response to the share of {response.source}", HEIGHT, [*body, _legend(response)])


def _path(points: list[tuple[float, float]], x: Axis, y: Axis) -> str:
    return " ".join(f"{x.at(a)},{y.at(b)}" for a, b in points)


def _optimum(response: Response, x: Axis) -> str:
    if response.optimum is None:
        return ""
    middle = x.at(response.optimum)
    line = f'<line class="mark c2" x1="{middle}" x2="{middle}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
    if response.low is None or response.high is None:
        return line
    left, right = x.at(response.low), x.at(response.high)
    return f'<rect class="spread c2" x="{left}" y="{TOP}" width="{right - left:.2f}" height="{HEIGHT - BOTTOM - TOP}"/>' + line


def _grid(response: Response, x: Axis, y: Axis) -> str:
    lower = not response.metric.startswith("accuracy")
    out = [text(LEFT, 16, f"{metric_words(response.metric)} ({'lower' if lower else 'higher'} is better)", "note")]
    for value in y.ticks(5):
        out.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y.at(value)}" y2="{y.at(value)}"/>')
        out.append(text(LEFT - 8, y.at(value) + 4, short(value), "tick", "end"))
    base = HEIGHT - BOTTOM
    out.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{base}" y2="{base}"/>')
    out += [text(x.at(value), base + 17, f"{value:.0%}", "tick", "middle") for value in x.ticks(8) if 0 <= value <= 1]
    return "".join(out) + text(WIDTH - RIGHT, base + 36, f"share of {response.source}", "note", "end")


def _legend(response: Response) -> str:
    out = [f'<circle class="seed c1" cx="{LEFT + 8}" cy="36" r="4"/>', text(LEFT + 20, 40, "one run")]
    out.append(f'<line class="line c1" x1="{LEFT + 92}" x2="{LEFT + 112}" y1="36" y2="36"/>')
    out.append(text(LEFT + 118, 40, "parabola, band: interval of its mean"))
    if response.optimum is not None:
        out.append(f'<line class="mark c2" x1="{LEFT + 362}" x2="{LEFT + 362}" y1="28" y2="44"/>')
        out.append(text(LEFT + 374, 40, "its optimum, with interval"))
    return "".join(out)
