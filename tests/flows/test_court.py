"""A court in the DAG: what is known before it decides, what its verdict changes, and what it leaves alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from contracts.errors import ConfigError, GateError
from flows.dag import dag
from flows.desk import Desk
from flows.explain import explain
from flows.gate import before_the_run
from flows.plan import Node, Plan, Undecided
from flows.recipe import Recipe, load

MUON = ["training.optimizer.kind=muon", "model.init_std=0.02"]
LATER = ["train-stable", "train-decay", "convert", "evaluate", "report"]


@pytest.fixture
def recipe() -> Recipe:
    return load("smoke-court")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own."""
    monkeypatch.setenv("SMOLFLOW_HOME", str(tmp_path))
    return tmp_path


def decided(recipe: Recipe, accepted: Sequence[str]) -> Plan:
    return dag(recipe, decided=lambda court: accepted)


def identities(plan: Plan) -> dict[str, str]:
    return {node.name: node.fingerprint for node in plan}


def test_what_follows_is_unknown_until_the_court_has_decided(recipe: Recipe, site: Path) -> None:
    plan = dag(recipe)
    assert [node.name for node in plan if node.awaits is not None] == LATER
    with pytest.raises(Undecided, match="court-main"):
        _ = plan.node("train-stable").fingerprint
    said = {reason.stage: reason for reason in explain(Desk.of("smoke-court"))}
    assert said["court-main"].verdict == "runs"
    assert {said[name].verdict for name in LATER} == {"undecided"}
    assert "court-main" in said["convert"].because[0]


def test_upstream_of_the_court_is_shared_with_the_recipe_it_extends(recipe: Recipe) -> None:
    before = {node.name: node.fingerprint for node in dag(load("smoke"))}
    for node in dag(recipe).nodes[:4]:
        assert node.fingerprint == before[node.name]


def test_a_court_that_accepts_nothing_leaves_the_main_run_as_it_was(recipe: Recipe) -> None:
    plain, judged = identities(dag(load("smoke"))), identities(decided(recipe, []))
    assert {name: judged[name] for name in LATER[:-1]} == {name: plain[name] for name in LATER[:-1]}


def test_what_it_accepts_is_what_later_stages_train(recipe: Recipe) -> None:
    judged = decided(recipe, MUON)
    assert judged.recipe.training.optimizer.kind == "muon"
    assert judged.node("train-stable").config["optimizer"]["kind"] == "muon"
    kept = identities(decided(recipe, []))
    assert {name for name, one in identities(judged).items() if kept[name] != one} == set(LATER)


def test_another_case_with_the_same_outcome_trains_nothing_again(recipe: Recipe) -> None:
    other = recipe.override(["ablations.courts.main.seeds=[0, 1, 2]"])
    one, two = identities(decided(recipe, MUON)), identities(decided(other, MUON))
    assert one["court-main"] != two["court-main"]
    assert {name for name in one if one[name] != two[name]} == {"court-main", "report"}


def test_an_accepted_tokenizer_makes_the_text_stages_anew(recipe: Recipe) -> None:
    judged = decided(recipe, ["tokenizer.digits=groups_of_three"])
    kept = identities(decided(recipe, []))
    assert {name for name, one in identities(judged).items() if kept[name] != one} == {"tokenizer", "tokenize", *LATER}
    assert [node.name for node in judged].index("tokenize") > [node.name for node in judged].index("court-main")


def test_baseline_runs_are_shared_between_courts(recipe: Recipe) -> None:
    court = recipe.ablations.courts[0]
    slow = court.modifications[0].model_copy(update={"name": "slow", "change": {"training.optimizer.beta2": 0.9}, "compensations": {}})
    other = recipe.ablations.model_copy(update={"courts": [court.model_copy(update={"name": "other", "modifications": [slow]})]})
    one, two = dag(recipe).node("court-main"), dag(recipe.model_copy(update={"ablations": other})).node("court-other")
    first, second = ({arm.label: arm.evaluate.fingerprint for arm in node.arms} for node in (one, two))
    assert {label for label in first if second.get(label) == first[label]} == {"baseline.0", "baseline.1"}


def test_an_arm_is_a_recipe_that_can_be_run_by_hand(recipe: Recipe, site: Path) -> None:
    desk = Desk.of("smoke-court")
    for arm in desk.plan.node("court-main").arms:
        alone = Desk.of("smoke-court", arm.overrides).plan
        assert alone.node("evaluate").fingerprint == arm.evaluate.fingerprint
        assert alone.node("train-arm").fingerprint == arm.train.fingerprint


def test_arms_differ_from_the_baseline_in_the_declared_fields_only(recipe: Recipe) -> None:
    plans = {arm.label: arm.plan.recipe for arm in dag(recipe).node("court-main").arms}
    changed = plans["baseline.0"].override([*MUON, "training.phases.*.schedule.learning_rate=0.003"])
    assert plans["muon.0"] == changed


def test_a_court_before_a_later_phase_goes_on_from_the_phase_before(recipe: Recipe) -> None:
    decay = recipe.override(
        [
            "ablations.courts.main.before=decay",
            "ablations.courts.main.modifications=[{name: gentle-end, hypothesis: a rate that ends above zero loses nothing, "
            "change: {training.phases.decay.schedule.final_fraction: 0.1}}]",
            "ablations.courts.main.shape=as_phase",
        ]
    )
    plan = dag(decay)
    court = plan.node("court-main")
    assert [node.name for node in plan if node.awaits is not None] == LATER[1:]
    assert {arm.train.inputs["parent"].fingerprint for arm in court.arms} == {plan.node("train-stable").fingerprint}


def test_a_pinned_court_is_taken_as_it_is(recipe: Recipe) -> None:
    asked: list[Node] = []
    dag(recipe, {"court-main": "f" * 32}, lambda court: asked.append(court) or [])
    assert [node.fingerprint for node in asked] == ["f" * 32]
    assert asked[0].arms == ()


def test_a_run_left_out_is_not_trained(recipe: Recipe) -> None:
    fewer = recipe.override(['ablations.courts.main.left_out={"muon.1": "its node lost a disk"}'])
    assert [arm.label for arm in dag(fewer).node("court-main").arms] == ["baseline.0", "baseline.1", "muon.0"]


def test_the_name_of_an_arms_phase_is_kept_for_arms(recipe: Recipe) -> None:
    with pytest.raises(ConfigError, match="rename the phase"):
        recipe.override(["training.phases.decay.name=arm"])


def test_a_court_without_qualification_needs_a_reason(site: Path) -> None:
    assert list(before_the_run(Desk.of("smoke-court"), "cpu"))
    with pytest.raises(GateError, match="qualification"):
        list(before_the_run(Desk.of("smoke-court", ["waivers=[]"]), "cpu"))


def test_an_unknown_phase_and_recipe_are_refused_with_the_nearest_name(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'decay'"):
        recipe.override(["ablations.courts.main.before=decai"])
    path = tmp_path / "mine.yaml"
    path.write_text("extends: smok\nname: mine\n")
    with pytest.raises(ConfigError, match="did you mean 'smoke'"):
        load(str(path))
