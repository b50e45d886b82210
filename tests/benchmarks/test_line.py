"""The benchmark of the line says which aim is missed."""

from __future__ import annotations

import pytest

from benchmarks.line import IDLE_AIM, OWN_AIM, misses


def test_figures_under_their_aims_miss_nothing() -> None:
    assert misses({"source": 0.4, "convert": OWN_AIM - 0.01, "resumed": -2.0}, IDLE_AIM - 0.01) == []


@pytest.mark.parametrize(
    ("owns", "idle", "named"),
    [
        ({"source": 0.4, "convert": OWN_AIM}, 0.8, ["Prefect's own share of convert: 3.00 s (aim: under 3)"]),
        ({"source": 0.4}, IDLE_AIM, ["nothing-changed run: 15.00 s (aim: under 15)"]),
        ({"source": 4.0, "report": 5.0}, 20.0, ["Prefect's own share of source", "Prefect's own share of report", "nothing-changed run"]),
        ({}, 0.8, ["no stage has a flow run"]),
        ({}, 20.0, ["no stage has a flow run", "nothing-changed run"]),
    ],
)
def test_a_missed_aim_is_named(owns: dict[str, float], idle: float, named: list[str]) -> None:
    found = misses(owns, idle)
    assert len(found) == len(named) and all(part in told for part, told in zip(named, found, strict=True))
