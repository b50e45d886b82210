from __future__ import annotations

import json
from pathlib import Path

import pytest

from infra.tracking.spool import Position, read


def write(spool: Path, steps: range, start: int = 0) -> None:
    """Append a line for each step."""
    with spool.open("a", encoding="utf-8") as handle:
        for step in steps:
            handle.write(json.dumps([step, start + step, {"loss": float(step), "tokens_per_second": 2.0}]) + "\n")


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "metrics.jsonl"


def steps_of(points: list[tuple[str, float, int, int]]) -> list[int]:
    return [step for name, _, _, step in points if name == "loss"]


def test_points_are_read_once(spool: Path) -> None:
    write(spool, range(3))
    points, position = read(spool, Position())
    assert points[:2] == [("loss", 0.0, 0, 0), ("tokens_per_second", 2.0, 0, 0)]
    assert steps_of(points) == [0, 1, 2]
    assert read(spool, position)[0] == []
    write(spool, range(3, 5))
    assert steps_of(read(spool, position)[0]) == [3, 4]


def test_a_line_that_is_still_being_written_waits(spool: Path) -> None:
    write(spool, range(1))
    with spool.open("a") as handle:
        handle.write("[1, 5, {")
    points, position = read(spool, Position())
    assert steps_of(points) == [0]
    with spool.open("a") as handle:
        handle.write('"loss": 7.0}]\n')
    assert read(spool, position)[0] == [("loss", 7.0, 5, 1)]


def test_a_line_cut_by_a_crash_is_passed_over(spool: Path) -> None:
    write(spool, range(1))
    with spool.open("a") as handle:
        handle.write('[1, 17[2, 3, {"loss": 1.0}]\n"text"\n{"loss": 2}\n[3, 4, 5]\n')
    write(spool, range(9, 10))
    assert steps_of(read(spool, Position())[0]) == [0, 9]


def test_a_spool_cut_by_a_resume_is_read_again_without_repeating_steps(spool: Path) -> None:
    write(spool, range(10))
    _, position = read(spool, Position())
    kept = spool.read_text().splitlines(keepends=True)[:6]
    spool.write_text("".join(kept))
    write(spool, range(6, 12), start=500)
    points, position = read(spool, position)
    assert steps_of(points) == [10, 11]
    assert read(spool, position)[0] == []


def test_a_spool_that_grew_past_the_old_end_after_a_cut_is_noticed_too(spool: Path) -> None:
    write(spool, range(4))
    _, position = read(spool, Position())
    spool.unlink()
    write(spool, range(40), start=900)
    assert steps_of(read(spool, position)[0]) == list(range(4, 40))


def test_no_spool_is_no_points(spool: Path) -> None:
    assert read(spool, Position()) == ([], Position())
