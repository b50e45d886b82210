"""Stages side by side: their order, and what a failure does to the others."""

from __future__ import annotations

import os
import threading

import pytest

from contracts.errors import StageError
from flows.abreast import abreast
from flows.plan import Node, StageKind

SHORT, LONG = StageKind("short", 1, "tests"), StageKind("long", 1, "tests", effort=5)
LANES = len(os.sched_getaffinity(0))


def node(name: str, *inputs: Node, kind: StageKind = SHORT) -> Node:
    return Node(name, kind, None, {one.name: one for one in inputs}, None)


def begun(nodes: list[Node]) -> list[str]:
    names: list[str] = []
    abreast(nodes, lambda one: names.append(one.name))
    return names


def test_what_most_work_waits_for_begins_first() -> None:
    leaves = [node(f"leaf-{number}") for number in range(LANES)]
    head = node("head")
    branch, long = node("branch", head), node("long", head, kind=LONG)
    names = begun([*leaves, head, branch, long])
    assert sorted(names) == sorted(one.name for one in (*leaves, head, branch, long))
    assert names.index("head") < LANES
    assert names.index("head") < names.index("branch")


def test_a_stage_that_takes_long_begins_before_one_that_does_not() -> None:
    first = [node(f"short-{number}") for number in range(LANES)]
    assert begun([*first, node("long", kind=LONG)]).index("long") < LANES


def test_none_begins_before_all_that_it_reads_is_there() -> None:
    left, right = node("left"), node("right")
    done: list[str] = []

    def bring(one: Node) -> None:
        assert all(name in done for name in one.inputs)
        done.append(one.name)

    abreast([left, right, node("both", left, right)], bring)
    assert done[-1] == "both"


def test_after_a_failure_none_begins_and_it_is_told() -> None:
    broken, after = node("broken", kind=LONG), [node(f"after-{number}") for number in range(LANES + 2)]
    names, told = list[str](), threading.Event()

    def bring(one: Node) -> None:
        names.append(one.name)
        if one is broken:
            told.set()
            raise StageError("the disk is full", do="make room")
        told.wait(5)

    with pytest.raises(StageError, match="disk is full"):
        abreast([broken, *after], bring)
    assert len(names) < len(after) + 1
