"""A sweep over two fields as a heat map, as SVG text: learning rate x batch and the like."""

from __future__ import annotations

from html import escape
from typing import Any

from tasks.ablation import CourtResult
from tasks.reporting.axes import short
from tasks.reporting.svg import WIDTH, cut, frame, text
from tasks.reporting.verdicts import LOOKS, absence, interval, metric_words, runs_of, signed

LEFT, TOP, ROW, GAP, KEY = 150, 64, 58, 4, 190


def heat_map(court: CourtResult, name: str) -> str:
    """Difference to the baseline of every point of the sweep `name`; the best is framed, those as good within the tolerance are dashed.

    Darker is better. SVG text.
    """
    (across, columns), (down, rows) = court.sweeps[name].items()
    values = sweep_values(court, name)
    best = best_arm(court, values)
    near = set(near_best(court, name, values))
    step = (WIDTH - LEFT - KEY) / len(columns)
    body = [text(LEFT, 16, f"difference in {metric_words(court.metric)}, arm minus baseline", "note")]
    body += [text(LEFT + step * (i + 0.5), TOP - 10, said(value), "label", "middle") for i, value in enumerate(columns)]
    body.append(text(WIDTH - KEY, TOP - 30, f"{leaf(across)} →", "note", "end"))
    body.append(text(LEFT - 12, TOP - 10, f"{cut(leaf(down), 20)} ↓", "note", "end"))
    for j, row in enumerate(rows):
        body.append(text(LEFT - 12, TOP + ROW * j + 33, said(row), "label", "end"))
        for i, column in enumerate(columns):
            arm = _arm(court, name, {across: column, down: row})
            mark = "best" if arm == best else "near" if arm in near else ""
            start = {across: column, down: row} == {path: court.baseline.get(path) for path in (across, down)}
            body.append(_cell(court, arm, values, LEFT + step * i, TOP + ROW * j, step, mark, start))
    return frame(f"Sweep of {leaf(across)} and {leaf(down)}", max(TOP + ROW * len(rows), TOP + 160), [*body, _key()], least=760)


def sweep_values(court: CourtResult, name: str) -> dict[str, float]:
    """Arm -> difference to the baseline on the court's metric, of the points of a sweep that have one."""
    effects = [e for e in court.effects if e.metric == court.metric and e.arm.partition("[")[0] == name]
    return {e.arm: e.value for e in effects if e.value is not None}


def best_arm(court: CourtResult, values: dict[str, float]) -> str | None:
    """The point with the best mean."""
    lower = next((e.lower_is_better for e in court.effects if e.metric == court.metric), True)
    return (min if lower else max)(values, key=lambda arm: values[arm], default=None)


def near_best(court: CourtResult, name: str, values: dict[str, float]) -> list[str]:
    """Points whose mean lies within the modification's tolerance of the best one."""
    best = best_arm(court, values)
    tolerance = next((one.modification.tolerance for one in court.decisions if one.modification.name == name), 0.0)
    return [arm for arm, value in values.items() if best is not None and abs(value - values[best]) <= tolerance]


def leaf(path: str) -> str:
    """Last word of a recipe's path, as a person says it."""
    return path.rpartition(".")[2].replace("_", " ")


def said(value: Any) -> str:
    """A value of an axis in few characters; a mixture as its shares."""
    if isinstance(value, dict):
        return " / ".join(f"{key} {said(one)}" for key, one in value.items())
    return (
        f"{value:g}" if isinstance(value, float) else short(value) if isinstance(value, int) and not isinstance(value, bool) else str(value)
    )


def _arm(court: CourtResult, name: str, point: dict[str, Any]) -> str:
    arms = (arm for arm in court.points if arm.partition("[")[0] == name)
    return next((arm for arm in arms if all(court.points[arm].get(path) == value for path, value in point.items())), "")


def _cell(court: CourtResult, arm: str, values: dict[str, float], x: float, y: float, step: float, mark: str, start: bool) -> str:
    box = f'x="{x + 3:.1f}" y="{y + 3:.1f}" width="{step - 6:.1f}" height="{ROW - 6}" rx="5"'
    note = text(x + step / 2, y + 46, "baseline's own", "tick", "middle") if start else ""
    if arm not in values:
        why = absence([run for run in runs_of(court, arm) if court.metric not in run.metrics]) if arm else "not run"
        return f'<g class="empty"><rect class="cell none" {box}/>{text(x + step / 2, y + 34, f"– {why}", "tick", "middle")}</g>'
    effect = court.effect(arm, court.metric)
    sign = {"best": "★ ", "near": "● "}.get(mark, "")
    verdict = f"{LOOKS[effect.outcome].sign} {effect.outcome} {interval(effect)}" if effect else ""
    line = text(x + step / 2, y + (27 if start else 34), f"{sign}{signed(values[arm])}", "value strong" if mark else "value", "middle")
    return (
        f'<g><title>{escape(f"{arm}: {signed(values[arm])} {verdict}")}</title><rect class="cell heat {mark}" '
        f'style="fill-opacity:{_depth(court, values, arm):.2f}" {box}/>{line}{note}</g>'
    )


def _depth(court: CourtResult, values: dict[str, float], arm: str) -> float:
    """Opacity of a cell: by rank from worst to best, so that one bad corner does not make all others look alike."""
    worst_first = sorted(values, key=lambda one: values[one], reverse=best_arm(court, values) == min(values, key=lambda one: values[one]))
    return 0.05 + 0.5 * worst_first.index(arm) / max(1, len(worst_first) - 1)


def _key() -> str:
    left, out = WIDTH - KEY + 22, []
    for index, (tone, words) in enumerate(
        (("heat best", "★ best mean"), ("heat near", "● within tolerance of it"), ("none", "– no value"))
    ):
        y = TOP + 26 * index
        fill = ' style="fill-opacity:.4"' if tone.startswith("heat") else ""
        out.append(
            f'<rect class="cell {tone}"{fill} x="{left}" y="{y + 4}" width="18" height="16" rx="3"/>{text(left + 26, y + 17, words)}'
        )
    return "".join(out) + text(left, TOP + 100, "darker: better rank")
