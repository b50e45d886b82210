"""The picture of the DAG as SVG text: one box per stage in columns by depth, arrows for inputs, states by colour, sign and word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from tasks.reporting.axes import duration
from tasks.reporting.view import StageView

BOX_W, BOX_H, GAP_X, GAP_Y, LIFT = 106, 54, 17, 16, 13
MARKER = 'viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto"'
SIGNS = {"ran": "✓", "reused": "↺", "running": "…", "failed": "✕", "waiting": "·"}


def dag_picture(stages: Sequence[StageView]) -> str:
    """SVG of the DAG. Inputs that name no listed stage are left out.

    Raises:
        ValueError: where the stages form a cycle.
    """
    if not stages:
        return ""
    known = {stage.name: stage for stage in stages}
    depth = _depths(known)
    columns: dict[int, list[str]] = {}
    for name in known:
        columns.setdefault(depth[name], []).append(name)
    arcs = _long_edges(known, depth)
    top = 12 + (16 + LIFT * len(arcs) if arcs else 0)
    place = {n: (10 + d * (BOX_W + GAP_X), top + r * (BOX_H + GAP_Y)) for d, names in columns.items() for r, n in enumerate(names)}
    rows = max(len(names) for names in columns.values())
    width, height = 10 + len(columns) * (BOX_W + GAP_X), top + rows * (BOX_H + GAP_Y) + 4
    body = [_arc(place[a], place[b], top - 16 - LIFT * lane) for lane, (a, b) in enumerate(arcs)]
    body += [_edge(place[a], place[b]) for a, b in _edges(known) if depth[b] - depth[a] == 1]
    body += [_box(stage, *place[stage.name]) for stage in stages]
    head = f'<defs><marker id="tip" {MARKER}><path class="tip" d="M0,0L8,4L0,8z"/></marker></defs>'
    return (
        f'<svg class="plot dag" style="min-width:{min(width, 900)}px" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg" '
        f'role="img" aria-label="The stages of this run and their states"><title>The stages of this run</title>{head}{"".join(body)}</svg>'
    )


def _edges(known: Mapping[str, StageView]) -> list[tuple[str, str]]:
    return [(source, name) for name, stage in known.items() for source in _parents(stage) if source in known]


def _parents(stage: StageView) -> list[str]:
    return list(dict.fromkeys([*stage.inputs.values(), *stage.follows]))


def _depths(known: Mapping[str, StageView]) -> dict[str, int]:
    depth: dict[str, int] = {}

    def visit(name: str, path: tuple[str, ...]) -> int:
        if name in path:
            raise ValueError(f"the stages form a cycle: {' -> '.join([*path, name])}")
        if name not in depth:
            parents = [visit(parent, (*path, name)) for parent in _parents(known[name]) if parent in known]
            depth[name] = max(parents, default=-1) + 1
        return depth[name]

    for name in known:
        visit(name, ())
    return depth


def _long_edges(known: Mapping[str, StageView], depth: Mapping[str, int]) -> list[tuple[str, str]]:
    """Edges that skip columns, shortest first, so that the longest arc lies on top; a report reads everything, so its arcs are left out."""
    long = [(a, b) for a, b in _edges(known) if depth[b] - depth[a] > 1 and known[b].kind != "reporting"]
    return sorted(long, key=lambda edge: depth[edge[1]] - depth[edge[0]])


def _arc(start: tuple[float, float], end: tuple[float, float], y: float) -> str:
    x1, x2 = start[0] + BOX_W * 0.7, end[0] + BOX_W * 0.3
    r = 7
    path = f"M{x1},{start[1]}V{y + r}Q{x1},{y} {x1 + r},{y}H{x2 - r}Q{x2},{y} {x2},{y + r}V{end[1] - 1}"
    return f'<path class="edge far" d="{path}" marker-end="url(#tip)"/>'


def _edge(start: tuple[float, float], end: tuple[float, float]) -> str:
    x1, y1, x2, y2 = start[0] + BOX_W, start[1] + BOX_H / 2, end[0], end[1] + BOX_H / 2
    middle = (x1 + x2) / 2
    return f'<path class="edge" d="M{x1},{y1}C{middle},{y1} {middle},{y2} {x2 - 1},{y2}" marker-end="url(#tip)"/>'


def _box(stage: StageView, x: float, y: float) -> str:
    took = f" · {duration(stage.seconds)}" if stage.seconds is not None else ""
    note = (f"{stage.runs} runs" if stage.runs else stage.state) + took
    shown = note if len(note) <= 18 else note.partition(" · ")[0]
    name = stage.name if len(stage.name) <= 15 else stage.name[:14] + "…"
    return (
        f'<g class="box {stage.state}"><title>{escape(stage.name)}: {stage.state}, {escape(note)}</title>'
        f'<rect x="{x}" y="{y}" width="{BOX_W}" height="{BOX_H}" rx="8"/>'
        f'<text class="name" x="{x + BOX_W / 2}" y="{y + 24}" text-anchor="middle">{SIGNS[stage.state]} {escape(name)}</text>'
        f'<text class="state" x="{x + BOX_W / 2}" y="{y + 42}" text-anchor="middle">{escape(shown)}</text></g>'
    )
