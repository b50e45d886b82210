"""Which end of a run is that of the attempt a worker has just seen die; workers that do so are in tests/e2e/test_stack.py."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from prefect.client.schemas.objects import State, StateType

from infra.stack.prefect_worker import end_of_attempt

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def history(words: str) -> list[State]:
    return [State(type=StateType[word.upper()], timestamp=NOON + timedelta(seconds=second)) for second, word in enumerate(words.split())]


@pytest.mark.parametrize("after", ["", "scheduled", "scheduled pending", "scheduled pending running"])
def test_the_end_stays_known_however_the_run_goes_on(after: str) -> None:
    states = history(f"scheduled pending running crashed {after}")
    assert end_of_attempt(states[0], states) is states[3]


@pytest.mark.parametrize("words", ["scheduled pending running", "scheduled pending"])
def test_an_end_that_nobody_reported_is_not_known(words: str) -> None:
    states = history(words)
    assert end_of_attempt(states[0], states) is None


def test_the_end_of_an_earlier_attempt_is_not_that_of_this_one() -> None:
    states = history("scheduled pending running crashed scheduled pending running")
    assert end_of_attempt(states[4], states) is None, "its own crash is still to be reported"
