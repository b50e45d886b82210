"""Horizontal plots as SVG text: bits per byte against the bigram, accuracies with intervals, where documents and time went."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from tasks.reporting.axes import Axis, duration, short
from tasks.reporting.svg import WIDTH, cut, frame
from tasks.reporting.view import Accuracy, BitsPerByte, Interval, SourceView, StageView

LABEL, RIGHT = 190, 150


def bits_plot(rows: Sequence[BitsPerByte]) -> str:
    """Bits per byte of each held-out source with its interval, the bigram as a mark; lower is better. SVG text."""
    if not rows:
        return ""
    top = max(max(row.model.high or row.model.value, row.bigram.high or row.bigram.value if row.bigram else 0.0) for row in rows)
    x = Axis(0.0, top * 1.06, LABEL, WIDTH - RIGHT)
    body = [_scale(x, 34 + 46 * len(rows), "bits per byte (lower is better)"), _key([("bar c1", "model"), ("mark c2", "bigram")])]
    for index, row in enumerate(rows):
        y = 34 + 46 * index
        body.append(_label(row.source, y + 20))
        body.append(f'<rect class="bar c1" x="{LABEL}" y="{y + 6}" width="{x.at(row.model.value) - LABEL:.1f}" height="20" rx="2"/>')
        body.append(_whisker(row.model, x, y + 16))
        if row.bigram:
            body.append(f'<line class="mark c2" x1="{x.at(row.bigram.value)}" x2="{x.at(row.bigram.value)}" y1="{y}" y2="{y + 32}"/>')
            verdict = f"{row.model.value / row.bigram.value - 1:+.1%} vs bigram"
            body.append(f'<text class="tick" x="{WIDTH - RIGHT + 14}" y="{y + 12}">{verdict}</text>')
        body.append(f'<text class="value" x="{WIDTH - RIGHT + 14}" y="{y + 28}">{_interval(row.model, 3)}</text>')
    return frame("Bits per byte on held-out text", 34 + 46 * len(rows) + 40, body)


def accuracy_plot(rows: Sequence[Accuracy]) -> str:
    """Accuracy of each task with its interval, and chance as a mark. SVG text."""
    if not rows:
        return ""
    x = Axis(0.0, 1.0, LABEL, WIDTH - RIGHT)
    body = [_scale(x, 34 + 40 * len(rows), "share of right answers"), _key([("dot c1", "model"), ("mark c2", "chance")])]
    for index, row in enumerate(rows):
        y = 34 + 40 * index
        body.append(_label(row.task, y + 20))
        body.append(f'<line class="mark c2" x1="{x.at(row.chance)}" x2="{x.at(row.chance)}" y1="{y + 2}" y2="{y + 30}"/>')
        body.append(_whisker(row.score, x, y + 16))
        body.append(f'<circle class="dot c1" cx="{x.at(row.score.value)}" cy="{y + 16}" r="5"/>')
        body.append(f'<text class="value" x="{WIDTH - RIGHT + 14}" y="{y + 14}">{_interval(row.score, 3)}</text>')
        body.append(f'<text class="tick" x="{WIDTH - RIGHT + 14}" y="{y + 29}">{row.questions:,} questions</text>')
    return frame("Accuracy", 34 + 40 * len(rows) + 40, body)


def removal_plot(sources: Sequence[SourceView]) -> str:
    """What became of the text of each source, in bytes: trained on, held out, or removed by a filter. SVG text."""
    rows = [source for source in sources if source.bytes]
    if not rows:
        return ""
    body = [_key([("bar c3", "train"), ("bar c1", "held out"), ("bar c5", "removed")])]
    for index, source in enumerate(rows):
        y, left = 30 + 40 * index, float(LABEL)
        parts = {"c3": source.bytes, "c1": source.heldout_bytes, "c5": sum(item.bytes for item in source.removed)}
        body.append(_label(source.name, y + 19))
        for tone, size in parts.items():
            width = (WIDTH - RIGHT - LABEL) * size / sum(parts.values())
            body.append(
                f'<rect class="bar {tone}" x="{left:.1f}" y="{y + 4}" width="{width:.1f}" height="22"><title>{short(size)}B</title></rect>'
            )
            left += width
        body.append(f'<text class="value" x="{WIDTH - RIGHT + 14}" y="{y + 20}">{short(sum(parts.values()))}B of text</text>')
    return frame("What became of the text", 30 + 40 * len(rows) + 8, body)


def time_plot(stages: Sequence[StageView]) -> str:
    """Wall time of each stage, longest bar first in DAG order. SVG text."""
    rows = [stage for stage in stages if stage.seconds]
    if not rows:
        return ""
    total = sum(stage.seconds or 0.0 for stage in rows)
    x = Axis(0.0, max(stage.seconds or 0.0 for stage in rows), LABEL, WIDTH - RIGHT)
    body = []
    for index, stage in enumerate(rows):
        y, seconds = 6 + 28 * index, stage.seconds or 0.0
        body.append(_label(stage.name, y + 16))
        body.append(f'<rect class="bar c1" x="{LABEL}" y="{y + 3}" width="{max(1.5, x.at(seconds) - LABEL):.1f}" height="17" rx="2"/>')
        body.append(f'<text class="value" x="{x.at(seconds) + 10:.1f}" y="{y + 16}">{duration(seconds)} · {seconds / total:.0%}</text>')
    return frame("Where the time went", 12 + 28 * len(rows), body)


def _interval(value: Interval, digits: int) -> str:
    if value.low is None or value.high is None:
        return f"{value.value:.{digits}f}"
    return f"{value.value:.{digits}f} [{value.low:.{digits}f}, {value.high:.{digits}f}]"


def _whisker(value: Interval, x: Axis, y: float) -> str:
    if value.low is None or value.high is None:
        return ""
    left, right = x.at(value.low), x.at(value.high)
    return f'<path class="whisker" d="M{left},{y}H{right}M{left},{y - 6}V{y + 6}M{right},{y - 6}V{y + 6}"/>'


def _label(text: str, y: float) -> str:
    return f'<text class="label" x="{LABEL - 12}" y="{y}" text-anchor="end">{escape(cut(text, 26))}</text>'


def _scale(x: Axis, base: float, label: str) -> str:
    out = [f'<line class="axis" x1="{LABEL}" x2="{WIDTH - RIGHT}" y1="{base}" y2="{base}"/>']
    for value in x.ticks(6):
        out.append(f'<line class="grid" x1="{x.at(value)}" x2="{x.at(value)}" y1="28" y2="{base}"/>')
        out.append(f'<text class="tick" x="{x.at(value)}" y="{base + 16}" text-anchor="middle">{short(value)}</text>')
    out.append(f'<text class="note" x="{WIDTH - RIGHT}" y="{base + 34}" text-anchor="end">{escape(label)}</text>')
    return "".join(out)


def _key(entries: Sequence[tuple[str, str]]) -> str:
    out, left = [], float(LABEL)
    for tone, text in entries:
        if tone.startswith("mark"):
            out.append(f'<line class="{tone}" x1="{left + 7}" x2="{left + 7}" y1="4" y2="20"/>')
        elif tone.startswith("dot"):
            out.append(f'<circle class="{tone}" cx="{left + 7}" cy="12" r="5"/>')
        else:
            out.append(f'<rect class="{tone}" x="{left}" y="5" width="14" height="14" rx="2"/>')
        out.append(f'<text class="tick" x="{left + 21}" y="16">{escape(text)}</text>')
        left += 44 + 7 * len(text)
    return "".join(out)
