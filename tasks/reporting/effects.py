"""The effect plot (forest plot) as SVG text: every arm's difference to the baseline on the metric that decides."""

from __future__ import annotations

from html import escape

from tasks.ablation import CourtResult, Effect
from tasks.reporting.axes import Axis, span
from tasks.reporting.svg import WIDTH, frame, text
from tasks.reporting.verdicts import LOOKS, absence, changed_arms, decision, difference, legend, metric_words, named, runs_of, shape

LABEL, RIGHT, TOP, ROW = 190, 316, 58, 44


def effect_plot(court: CourtResult) -> str:
    """Effects with simultaneous intervals, zero as a line, and what does not matter (the tolerance) as a band in every row. SVG text."""
    arms = changed_arms(court)
    effects = [court.effect(arm, court.metric) for arm in arms]
    known = [effect for effect in effects if effect and effect.value is not None]
    if not arms:
        return ""
    tolerances = [found.modification.tolerance if (found := decision(court, arm)) else 0.0 for arm in arms]
    reach = [-max(tolerances), max(tolerances), *(v for e in known for v in (e.value, e.low, e.high) if v is not None)]
    x = Axis(*span(reach, pad=0.06), LABEL, WIDTH - RIGHT)
    base = TOP + ROW * len(arms)
    lower = known[0].lower_is_better if known else not court.metric.startswith("accuracy")
    label = f"difference in {metric_words(court.metric)}, arm minus baseline"
    body = [legend(LABEL, 14, shapes=True), _directions(x, lower)]
    for index, tolerance in enumerate(tolerances):
        left, right = x.at(-tolerance), x.at(tolerance)
        body.append(f'<rect class="tolerance" x="{left}" y="{TOP + ROW * index}" width="{right - left:.2f}" height="{ROW}"/>')
    body.append(_scale(x, base, label))
    for index, (arm, effect) in enumerate(zip(arms, effects, strict=True)):
        body.append(_row(court, arm, effect, x, TOP + ROW * index))
    return frame("Effect of every change", base + 40, body, least=760)


def _directions(x: Axis, lower: bool) -> str:
    left, right = ("← better", "worse →") if lower else ("← worse", "better →")
    zero = x.at(0.0)
    return text(zero - 10, TOP - 14, left, "note", "end") + text(zero + 10, TOP - 14, right, "note")


def _scale(x: Axis, base: float, label: str) -> str:
    out = [f'<line class="axis" x1="{LABEL}" x2="{WIDTH - RIGHT}" y1="{base}" y2="{base}"/>']
    for value in x.ticks(6):
        out.append(f'<line class="grid" x1="{x.at(value)}" x2="{x.at(value)}" y1="{TOP - 6}" y2="{base}"/>')
        out.append(text(x.at(value), base + 16, f"{value:+.3g}".replace("-", "\u2212") if value else "0", "tick", "middle"))
    out.append(f'<line class="zero" x1="{x.at(0.0)}" x2="{x.at(0.0)}" y1="{TOP - 8}" y2="{base}"/>')
    out.append(text(WIDTH - RIGHT, base + 34, label, "note", "end"))
    return "".join(out)


def _row(court: CourtResult, arm: str, effect: Effect | None, x: Axis, y: float) -> str:
    out = [f"<g><title>{escape(arm)}</title>{text(LABEL - 12, y + 27, named(arm, 24), 'label', 'end')}</g>"]
    side = WIDTH - RIGHT + 14
    if effect is None or (effect.value is None and not effect.diverged):
        why = absence([run for run in runs_of(court, arm) if court.metric not in run.metrics])
        return "".join(out) + text(side, y + 27, f"– {why}: nothing to compare", "tick")
    middle = y + ROW / 2
    if effect.low is not None and effect.high is not None:
        low, high = x.at(effect.low), x.at(effect.high)
        out.append(
            f'<path class="reach {LOOKS[effect.outcome].tone}" d="M{low},{middle}H{high}M{low},{middle - 6}v12M{high},{middle - 6}v12"/>'
        )
    if effect.value is not None:
        out.append(shape(effect.outcome, x.at(effect.value), middle))
    more = f" ({effect.seeds_to_decide} seeds would decide)" if effect.seeds_to_decide else ""
    out.append(text(side, y + 20, f"{LOOKS[effect.outcome].sign} {effect.outcome}{more}", "value strong"))
    runs = f" · {effect.seeds} run{'s' * (effect.seeds != 1)}" if effect.value is not None else ": no difference is given"
    return "".join(out) + text(side, y + 37, difference(effect) + runs, "tick")
