"""What comes before the court this time, over which baseline a decision counts, and what an adoption makes of a recipe."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from prefect.utilities.callables import parameter_schema

from contracts.errors import ConfigError, GateError
from flows.backlog import backlog as backlog_flow
from flows.baseline import adopt, bare, baseline_run, decisions, find_court, result_of, rulings, version
from flows.canary import week
from flows.dag import dag
from flows.desk import Desk
from flows.docket import Docket, baseline_case, call, known_states, share
from flows.plan import Node
from flows.recipe import load
from infra.store import Artifact
from tasks.ablation.config import Backlog
from tasks.ablation.results import CourtResult
from tests.flows.decided import accepting

RATE = "training.phases.*.schedule.learning_rate"
BACKLOG = Backlog.parse(
    {
        "modifications": [
            {"name": "z-loss", "hypothesis": "keeps logits small", "change": {"model.z_loss": 1e-4}},
            {"name": "slow", "hypothesis": "learns less", "change": {RATE: 5e-4}},
            {"name": "after-z", "hypothesis": "builds on it", "change": {"model.document_masking": False}, "depends_on": ["z-loss"]},
            {"name": "elsewhere", "hypothesis": "for other recipes", "change": {"training.phases.anneal.schedule.final_fraction": 0.1}},
        ]
    }
)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """smoke-court with a home of its own."""
    monkeypatch.setenv("SMOLFLOW_HOME", str(tmp_path))
    return Desk.of("smoke-court")


def decide(docket: Docket, states: Mapping[str, str]) -> Artifact:
    """Leave in the store what the court of `docket` would, with these states."""
    assert docket.case is not None
    court = docket.desk.plan.node("court-backlog")
    inputs = {role: _left(docket.desk, node, {}) for role, node in court.inputs.items()}
    result = accepting(docket.case, {name for name, state in states.items() if state == "accepted"})
    evidence = {"accepted": result.accepted, "decisions": [one.model_dump(mode="json") for one in result.decisions]}
    for row in evidence["decisions"]:
        row["state"] = states[row["modification"]["name"]]
    return _left(docket.desk, court, {"court.json": json.dumps(result.model_dump(mode="json"))}, inputs=inputs, evidence=evidence)


def _left(desk: Desk, node: Node, files: Mapping[str, str], **more: Any) -> Artifact:
    found = desk.store.find(node.fingerprint, node.name)
    if found is not None:
        return found
    folder = desk.site.scratch / "made" / node.fingerprint
    folder.mkdir(parents=True)
    for name, text in {"note.txt": node.name, **files}.items():
        (folder / name).write_text(text)
    with desk.store.begin(node.name, node.workspace_key) as workspace:
        return workspace.commit(node.fingerprint, [workspace.put("result", folder)], config=node.recorded(), **more)


def test_what_is_new_comes_before_the_court_and_the_rest_waits_with_a_reason(desk: Desk) -> None:
    docket = call(desk, BACKLOG)
    assert docket.case is not None
    assert [one.name for one in docket.case.modifications] == ["z-loss", "slow"]
    assert set(docket.left) == {"after-z", "elsewhere"}
    assert "z-loss" in docket.left["after-z"] and "anneal" in docket.left["elsewhere"]
    assert "device-hours" in docket.plan


def test_the_recipe_s_own_court_is_the_template(desk: Desk) -> None:
    own, case = load("smoke-court").ablations.courts[0], call(desk, BACKLOG).case
    assert case is not None
    assert (case.tokens, case.evaluation, case.metric, case.layout) == (own.tokens, own.evaluation, own.metric, own.layout)
    given = call(desk, BACKLOG, ["slow"], [3, 5, 8], 8192).case
    assert given is not None
    assert (given.tokens, given.seeds) == (8192, [3, 5, 8])


def test_a_recipe_without_a_court_gets_one_of_a_sensible_length(desk: Desk) -> None:
    docket = call(Desk.of("smoke"), BACKLOG, ["slow"])
    assert docket.case is not None
    assert docket.case.evaluation.backend == "megatron"
    assert docket.case.tokens == 61_440  # 20 times the warm-up would be longer than the phase
    phase = load("smollm3-3b").training.phases[0]
    assert 5e10 < share(phase) < 2e11


def test_holding_a_court_changes_nothing_of_the_recipe(desk: Desk) -> None:
    docket = call(desk, BACKLOG)
    assert next(node.name for node in docket.desk.plan if node.awaits is not None) == "train-stable"
    assert load("smoke-court") == load(desk.reference, desk.overrides)


def test_a_decision_takes_its_modification_off_the_list(desk: Desk) -> None:
    decide(call(desk, BACKLOG, ["slow"], tokens=8192), {"slow": "rejected"})
    docket = call(desk, BACKLOG)
    assert docket.case is not None
    assert [one.name for one in docket.case.modifications] == ["z-loss"]
    decide(docket, {"z-loss": "tested"})
    again = call(desk, BACKLOG)
    assert again.case is None
    assert "tested" in again.left["after-z"]
    chosen = call(desk, BACKLOG, ["z-loss"], [0, 1, 2, 3])
    assert chosen.case is not None, "a person may ask again, with more seeds"


def test_a_decision_over_another_baseline_does_not_count(desk: Desk) -> None:
    decide(call(desk, BACKLOG, ["slow"]), {"slow": "rejected"})
    recipe = load("smoke-court")
    assert known_states(BACKLOG, recipe, rulings(desk))["slow"] == "rejected"
    for other in (["model.rope_theta=5000"], ["training.phases.stable.global_batch_size=4"], ["tokenizer.digits=groups_of_three"]):
        moved = Desk.of("smoke-court", other)
        assert rulings(moved) == []
        assert known_states(BACKLOG, moved.plan.recipe, rulings(moved))["slow"] == "proposed"
    same = Desk.of("smoke-court", ["training.phases.decay.tokens=40960", "purpose.question=another"])
    assert len(rulings(same)) == 1, "what its runs do not depend on is no other baseline"
    assert len(rulings(Desk.of("smoke"))) == 1, "the same training without courts of its own is the same baseline"


def test_what_is_accepted_waits_for_a_person_before_anything_builds_on_it(desk: Desk) -> None:
    decide(call(desk, BACKLOG, ["z-loss"]), {"z-loss": "accepted"})
    assert "not adopted" in call(desk, BACKLOG).left["after-z"]
    with pytest.raises(ConfigError, match="smolflow adopt"):
        call(desk, BACKLOG, ["after-z"])


def test_an_adoption_makes_the_next_baseline_with_its_lineage(desk: Desk, tmp_path: Path) -> None:
    artifact = decide(call(desk, BACKLOG, ["z-loss"]), {"z-loss": "accepted"})
    before = load("smoke-court")
    new = adopt(before, result_of(desk, artifact), artifact.fingerprint, "ada")
    assert new.model.z_loss == 1e-4 and before.model.z_loss != 1e-4
    assert new.baseline is not None
    assert (version(before), version(new), new.baseline.by, new.baseline.court) == (1, 2, "ada", artifact.fingerprint)
    assert new.baseline.adopted == [BACKLOG.modifications[0].digest]
    bare_twin = new.model_copy(update={"baseline": None})
    assert [node.recorded() for node in dag(bare(desk).plan.recipe)] != [node.recorded() for node in dag(_alone(new))]
    assert [node.fingerprint for node in dag(_alone(new))] == [node.fingerprint for node in dag(_alone(bare_twin))]
    path = tmp_path / "next.yaml"
    path.write_text(new.to_yaml())
    docket = call(Desk.of(str(path)), BACKLOG)
    assert docket.case is not None
    assert [one.name for one in docket.case.modifications] == ["slow", "after-z"], "over the new baseline nothing else is decided"
    assert decisions(new, [])[0]["state"] == "accepted"


def _alone(recipe: Any) -> Any:
    return recipe.override(["ablations={}"])


def test_what_was_adopted_is_no_question_of_the_recipe_s_own_courts(desk: Desk) -> None:
    recipe = load("smoke-court")
    own = recipe.ablations.courts[0]
    case = own.model_copy(update={"modifications": [*own.modifications, BACKLOG.modifications[0]]})
    both = recipe.model_copy(update={"ablations": recipe.ablations.model_copy(update={"courts": [case]})})
    first = adopt(both, accepting(case, {own.modifications[0].name}), "f" * 32, "ada")
    assert [one.name for one in first.ablations.courts[0].modifications] == ["z-loss"]
    second = adopt(first, accepting(first.ablations.courts[0], {"z-loss"}), "e" * 32, "ada")
    assert second.ablations.courts == []
    assert second.baseline is not None and first.baseline is not None
    assert (version(second), second.baseline.adopted[:1]) == (3, first.baseline.adopted)


def test_an_adoption_of_nothing_is_refused(desk: Desk) -> None:
    recipe, case = load("smoke-court"), call(desk, BACKLOG, ["z-loss"]).case
    assert case is not None
    with pytest.raises(ConfigError, match="accepted nothing"):
        adopt(recipe, accepting(case, set()), "f" * 32, "ada")
    new = adopt(recipe, accepting(case, {"z-loss"}), "f" * 32, "ada")
    with pytest.raises(ConfigError, match="has all of it already"):
        adopt(new, accepting(case, {"z-loss"}), "f" * 32, "ada")


def test_the_newest_court_of_a_recipe_is_found_and_an_unknown_one_named(desk: Desk) -> None:
    with pytest.raises(ConfigError, match="no court has decided"):
        find_court(desk)
    one = decide(call(desk, BACKLOG, ["slow"]), {"slow": "rejected"})
    two = decide(call(desk, BACKLOG, ["z-loss"]), {"z-loss": "tested"})
    assert find_court(desk).fingerprint == two.fingerprint
    assert find_court(desk, one.fingerprint[:8]).fingerprint == one.fingerprint
    with pytest.raises(ConfigError, match=one.fingerprint[:12]):
        find_court(desk, "main")


def test_a_canary_is_the_baseline_s_run_trained_anew_once_a_week(desk: Desk) -> None:
    plan = bare(desk).plan
    case = baseline_case(load("smoke-court"), BACKLOG, [0, 1], 0)
    recorded, first, second = (baseline_run(plan, case, 0, label) for label in ("", "2026-W48", "2026-W49"))
    own = Desk.of("smoke-court").plan.node("court-main").arms[0]
    assert recorded.train.fingerprint == own.train.fingerprint
    assert len({one.train.fingerprint for one in (recorded, first, second)}) == 3
    assert len({one.train.workspace_key for one in (recorded, first, second)}) == 3
    assert first.train.inputs == recorded.train.inputs, "what it reads is not made again"
    assert week(datetime(2027, 1, 1, tzinfo=UTC)) == "2026-W53"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"items": ["z-los"]}, "did you mean 'z-loss'"),
        ({"items": ["elsewhere"]}, "cannot be tested now.*anneal"),
        ({"items": ["after-z"]}, "depends on 'z-loss', which is proposed"),
        ({"seeds": []}, "at least one seed"),
        ({"seeds": [1, 1]}, "each once"),
        ({"seeds": [-1]}, "seed"),
        ({"tokens": 2048}, "never reaches its learning rate"),
        ({"device_hours": 1e-7}, "too little for the baseline and one change"),
    ],
)
def test_bad_input_is_refused_before_anything_runs(desk: Desk, given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        call(desk, BACKLOG, **given)
    assert desk.store.artifacts() == []


def test_an_item_that_depends_on_a_rejected_one_is_refused(desk: Desk) -> None:
    decide(call(desk, BACKLOG, ["z-loss"]), {"z-loss": "rejected"})
    with pytest.raises(ConfigError, match="depends on 'z-loss', which is rejected"):
        call(desk, BACKLOG, ["after-z"])


def test_what_does_not_fit_the_budget_is_left_for_next_time(desk: Desk) -> None:
    whole = call(desk, BACKLOG).case
    assert whole is not None
    docket = call(desk, BACKLOG, device_hours=0.0017)  # each arm takes 0.00082 by the compass
    assert docket.case is not None
    assert [one.name for one in docket.case.modifications] == ["z-loss"]
    assert "left for next time" in docket.left["slow"]
    assert docket.case.budget.device_hours == 0.0017


def test_the_recipe_s_own_budget_holds_for_the_backlog_too(desk: Desk) -> None:
    tight = Desk.of("smoke-court", ["ablations.courts.main.budget.device_hours=0.001"])
    with pytest.raises(GateError, match="the court may spend"):
        call(tight, BACKLOG)


def test_the_form_explains_every_parameter_and_none_is_required() -> None:
    schema = parameter_schema(backlog_flow).model_dump_for_openapi()
    assert list(schema["properties"]) == ["recipe", "overrides", "items", "seeds", "tokens", "pool", "device_hours", "canary"]
    assert not schema.get("required")
    for name, field in schema["properties"].items():
        assert field["title"][0].isupper() and len(field["description"].split()) > 4 and "default" in field, name
        assert not {"anyOf", "oneOf", "$ref", "allOf"} & set(field), f"{name}: the form cannot show it"
    assert schema["properties"]["seeds"]["minItems"] == 1


def test_a_result_is_read_back_as_it_was(desk: Desk) -> None:
    docket = call(desk, BACKLOG, ["z-loss"])
    artifact = decide(docket, {"z-loss": "accepted"})
    assert docket.case is not None
    assert result_of(desk, artifact) == CourtResult.parse(accepting(docket.case, {"z-loss"}).model_dump(mode="json"))
