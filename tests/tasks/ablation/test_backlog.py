"""The backlog: states from the decision log, what is next, and the one that is shipped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from contracts.errors import ConfigError
from deployments import __file__ as deployments
from flows.recipe import load as recipe
from tasks.ablation.backlog import load, next_items, states, waiting
from tasks.ablation.config import Backlog, Court
from tasks.ablation.cost import court_plan
from tasks.ablation.parity import TOLERANCE
from tasks.ablation.results import Decision

SHIPPED = Path(deployments).with_name("backlog.yaml")


def item(name: str, layers: int, depends_on: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"name": name, "hypothesis": "it is better", "change": {"model.num_layers": layers}, "depends_on": list(depends_on)}


@pytest.fixture
def backlog() -> Backlog:
    return Backlog.parse({"modifications": [item("a", 3), item("b", 4, ("a",)), item("c", 5), item("d", 6, ("a", "c"))]})


def decided(backlog: Backlog, **states: str) -> list[dict[str, Any]]:
    """Entries of a decision log as a court writes them."""
    found = {one.name: one for one in backlog.modifications}
    return [
        Decision.parse(
            {"modification": found[name], "digest": found[name].digest, "state": state, "outcome": "better", "sentence": "so it is"}
        ).model_dump(mode="json")
        for name, state in states.items()
    ]


def test_without_decisions_everything_is_proposed_and_what_depends_waits(backlog: Backlog) -> None:
    assert set(states(backlog, []).values()) == {"proposed"}
    assert [one.name for one in next_items(backlog, [])] == ["a", "c"]
    assert waiting(backlog, states(backlog, []))["d"] == "depends on 'a', which is proposed and 'c', which is proposed"


def test_what_was_judged_is_not_taken_again(backlog: Backlog) -> None:
    log = decided(backlog, a="accepted", c="tested")
    assert states(backlog, log) == {"a": "accepted", "b": "proposed", "c": "tested", "d": "proposed"}
    assert [one.name for one in next_items(backlog, log)] == ["b"]


def test_what_depends_on_a_rejected_one_is_never_next(backlog: Backlog) -> None:
    log = decided(backlog, a="rejected", c="accepted")
    assert next_items(backlog, log) == []
    assert waiting(backlog, states(backlog, log)) == {"b": "depends on 'a', which is rejected", "d": "depends on 'a', which is rejected"}


def test_the_last_decision_holds(backlog: Backlog) -> None:
    log = decided(backlog, a="tested") + decided(backlog, a="accepted")
    assert states(backlog, log)["a"] == "accepted"


def test_a_modification_that_was_rewritten_is_proposed_again(backlog: Backlog) -> None:
    log = decided(backlog, a="rejected")
    again = Backlog.parse({"modifications": [item("a", 7), item("renamed", 3)]})
    assert states(again, log) == {"a": "proposed", "renamed": "rejected"}


def test_a_missing_or_broken_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no backlog at"):
        load(tmp_path / "none.yaml")
    broken = tmp_path / "backlog.yaml"
    broken.write_text("modifications: [{name: a, hypothesis: h, chance: {x: 1}}]")
    with pytest.raises(ConfigError, match="did you mean 'change'"):
        load(broken)


def test_every_item_that_is_shipped_is_one_fair_factor_of_tiny() -> None:
    shipped, tiny = load(SHIPPED), recipe("tiny")
    assert len(shipped.modifications) >= 8
    independent = [one.model_dump(mode="json") | {"depends_on": []} for one in shipped.modifications]
    plan = court_plan(Court.parse({"tokens": 204_800, "modifications": independent, "evaluation": {"backend": "megatron"}}), tiny)
    assert not plan.blocked
    assert all(abs(arm.parity.parameter_difference) <= TOLERANCE for arm in plan.arms)
    assert [one.name for one in next_items(shipped, [])] == [one.name for one in shipped.modifications if not one.depends_on]
