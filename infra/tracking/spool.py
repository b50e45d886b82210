"""The spool: a trainer's metrics.jsonl, one line `[step, Unix milliseconds, {name: value}]` a step, read from outside while it grows."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from pydantic import Field

from contracts.config import Config
from infra.tracking.mlflow import Point

LINES_PER_READ = 200
TAIL_BYTES = 1024


class Position(Config):
    """How far a spool has been shipped."""

    offset: int = 0
    """Bytes shipped."""
    tail: str = ""
    """Hash of the last bytes before the offset: tells a spool that a resume has cut and rewritten."""
    steps: dict[str, int] = Field({})
    """Newest step shipped, by metric: what a resume trains again is not shown twice."""


def read(spool: Path, position: Position) -> tuple[list[Point], Position]:
    """Points after `position`, at most `LINES_PER_READ` lines of them, and the position behind them.

    A spool that is shorter than it was, or differs before the offset, was rewritten by a resume: it is read from its beginning, and of
    each metric only steps that were not shipped before are taken. A line that is no JSON (a crash cut it) is passed over.
    """
    if not spool.is_file():
        return [], position
    with spool.open("rb") as handle:
        if position.offset and _tail(handle.read(position.offset)) != position.tail:
            position = position.model_copy(update={"offset": 0, "tail": ""})
        handle.seek(position.offset)
        lines = [line for line in (handle.readline() for _ in range(LINES_PER_READ)) if line.endswith(b"\n")]
        if not lines:
            return [], position
        offset = position.offset + sum(map(len, lines))
        handle.seek(max(0, offset - TAIL_BYTES))
        tail = _tail(handle.read(offset - handle.tell()))
    steps = dict(position.steps)
    points = [point for line in lines for point in _points(line) if point[3] > steps.get(point[0], -1)]
    for name, _, _, step in points:
        steps[name] = max(step, steps.get(name, -1))
    return points, Position(offset=offset, tail=tail, steps=steps)


def _points(line: bytes) -> list[Point]:
    try:
        step, milliseconds, values = json.loads(line)
        return [(str(name), float(value), int(milliseconds), int(step)) for name, value in values.items()]
    except (ValueError, TypeError, AttributeError):
        return []


def _tail(before: bytes) -> str:
    return hashlib.sha256(before[-TAIL_BYTES:]).hexdigest()[:16]
