"""The ablation matrix as SVG text: a row for each arm, a column for each metric, the verdict by colour, sign and word."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from statistics import fmean

from tasks.ablation import BASELINE, CourtResult, Effect
from tasks.reporting.svg import WIDTH, cut, frame, text
from tasks.reporting.verdicts import (
    LOOKS,
    STATES,
    absence,
    changed_arms,
    difference,
    interval,
    legend,
    metric_words,
    named,
    runs_of,
    signed,
    state,
)

HEAD, TOP, ROW, GAP, LEAST = 232, 104, 70, 4, 134


def matrix_plot(court: CourtResult) -> str:
    """Difference to the baseline of every arm on every metric, with its simultaneous interval and verdict; what decides comes first.

    A cell without a value says why (diverged, left out, missing). SVG text.
    """
    metrics = columns(court)
    if not metrics:
        return ""
    width = max(WIDTH, HEAD + LEAST * len(metrics))
    step = (width - HEAD) / len(metrics)
    arms = changed_arms(court)
    body = [legend(0, 14, shapes=False), *(_header(court, metric, HEAD + step * index, step) for index, metric in enumerate(metrics))]
    body.append(_baseline(court, metrics, step))
    for index, arm in enumerate(arms):
        y = TOP + ROW * (index + 1)
        body.append(_row_head(court, arm, y))
        body += [_cell(court, arm, metric, HEAD + step * column, y, step) for column, metric in enumerate(metrics)]
    least = 820 if width == WIDTH else int(0.88 * width)  # many metrics scroll rather than shrink
    return frame("What every change does to every metric", TOP + ROW * (len(arms) + 1) + 6, body, width=width, least=least)


def columns(court: CourtResult) -> list[str]:
    """Every metric that was judged or measured, the one that decides first."""
    found = dict.fromkeys([*(e.metric for e in court.effects), *(name for run in court.runs for name in run.metrics)])
    return sorted(found, key=lambda metric: (metric != court.metric, metric.startswith("accuracy"), metric))


def _header(court: CourtResult, metric: str, x: float, step: float) -> str:
    lower = next((e.lower_is_better for e in court.effects if e.metric == metric), not metric.startswith("accuracy"))
    head, _, rest = metric_words(metric).partition(": ")
    lines = [
        ("decides" if metric == court.metric else "reported", "tick"),
        (head, "value strong"),
        (cut(rest or "mean of sources", int((step - 14) / 7.8)), "value strong"),
        ("lower is better" if lower else "higher is better", "tick"),
    ]
    return "".join(text(x + 8, TOP - 66 + 18 * row, words, tone) for row, (words, tone) in enumerate(lines))


def _baseline(court: CourtResult, metrics: Sequence[str], step: float) -> str:
    runs = [run for run in runs_of(court, BASELINE) if run.metrics]
    out = [text(0, TOP + 28, BASELINE, "label strong"), text(0, TOP + 46, f"mean of {len(runs)} run{'s' * (len(runs) != 1)}")]
    for column, metric in enumerate(metrics):
        values = [run.metrics[metric] for run in runs if metric in run.metrics]
        x = HEAD + step * column
        out.append(f'<rect class="cell base" x="{x + 2:.1f}" y="{TOP}" width="{step - GAP:.1f}" height="{ROW - GAP}" rx="6"/>')
        out.append(text(x + 8, TOP + 37, f"{fmean(values):.3f}" if values else "missing", "value"))
    return "".join(out)


def _row_head(court: CourtResult, arm: str, y: float) -> str:
    found = state(court, arm)
    name = f"<g><title>{escape(arm)}</title>{text(0, y + 28, named(arm, 28), 'label strong')}</g>"
    runs = runs_of(court, arm)
    counted = sum(court.metric in run.metrics for run in runs)
    lacking = f" · {counted} of {len(runs)} runs" if counted < len(runs) else ""
    return name + text(0, y + 46, STATES[found] + lacking, f"tick state-{found.split()[0]}")


def _cell(court: CourtResult, arm: str, metric: str, x: float, y: float, step: float) -> str:
    effect = court.effect(arm, metric)
    box = f'x="{x + 2:.1f}" y="{y:.1f}" width="{step - GAP:.1f}" height="{ROW - GAP}" rx="6"'
    if effect is None or (effect.value is None and not effect.diverged):
        why = absence([run for run in runs_of(court, arm) if metric not in run.metrics])
        return f'<g class="empty"><rect class="cell none" {box}/>{text(x + 8, y + 37, f"– {why}", "tick")}</g>'
    look = LOOKS[effect.outcome]
    strong = " decides" if metric == court.metric else ""
    value, ends = (difference(effect), "") if effect.value is None else (signed(effect.value), interval(effect) or "(no interval)")
    return (
        f'<g><title>{escape(_said(effect))}</title><rect class="cell {look.tone}{strong}" {box}/>'
        f"{text(x + 8, y + 19, f'{look.sign} {effect.outcome}', 'value strong')}"
        f"{text(x + 8, y + 38, value, 'value')}{text(x + 8, y + 55, ends, 'tick')}</g>"
    )


def _said(effect: Effect) -> str:
    p = "" if effect.p_value is None else f", p = {effect.p_value:.2g} adjusted for all arms"
    noise = "" if effect.noise is None else f", noise of one run {effect.noise:.3f} ({effect.degrees_of_freedom} degrees of freedom)"
    sides = f"{effect.seeds} against {effect.baseline_seeds} runs"
    return f"{effect.arm}, {metric_words(effect.metric)}: {effect.outcome}, {difference(effect)}; {sides}{noise}{p}"
