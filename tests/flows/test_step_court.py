"""A court over a step after pretraining in the DAG: its runs are the step's own stage, and what it accepts is what the step trains."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from contracts.errors import ConfigError, GateError
from flows.baseline import adopt, of_its_steps
from flows.dag import dag
from flows.desk import Desk
from flows.gate import before_the_run
from flows.plan import Node, Plan, Undecided
from flows.recipe import Recipe, load
from tasks.ablation.request import StepJudgeRequest
from tests.flows.decided import accepting

RATE = "posttraining.sft.main.schedule.learning_rate"
COURT = (
    "ablations.steps=[{name: rate, stage: sft-main, seeds: [0, 1], modifications: [{name: gentle, hypothesis: a lower rate forgets less, "
    f"change: {{{RATE}: 1.0e-3}}}}, {{name: more, hypothesis: more sums, change: {{posttraining.sft.main.sources.add.examples: 200}}}}]}}]"
)


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return load("smoke-post", [COURT])


def decided(recipe: Recipe, accepted: Sequence[str]) -> Plan:
    return dag(recipe, decided=lambda court: accepted)


def identities(plan: Plan) -> dict[str, str]:
    return {node.name: node.fingerprint for node in plan}


def test_a_run_that_equals_the_recipes_step_is_that_step(recipe: Recipe) -> None:
    plain, kept = identities(dag(load("smoke-post"))), identities(decided(recipe, []))
    assert {name for name in kept if kept[name] != plain.get(name)} == {"court-rate", "report"}
    baseline = dag(recipe).node("court-rate").arms[0]
    assert baseline.train.name == "sft-main" and baseline.evaluate.name == "measure-sft-main"
    assert (baseline.train.fingerprint, baseline.evaluate.fingerprint) == (plain["sft-main"], plain["measure-sft-main"])


def test_the_step_and_what_hangs_on_it_wait_for_the_verdict(recipe: Recipe) -> None:
    plan = dag(recipe)
    names = [node.name for node in plan]
    assert names.index("measure-pretrained") < names.index("court-rate") < names.index("sft-main")
    assert plan.node("court-rate").awaits is None and plan.node("chat").awaits is None
    with pytest.raises(Undecided, match="court-rate"):
        _ = plan.node("sft-main").fingerprint
    judged = decided(recipe, [f"{RATE}=0.001"])
    assert judged.node("sft-main").fingerprint == plan.node("court-rate").arms[2].train.fingerprint
    more = decided(recipe, ["posttraining.sft.main.sources.add.examples=200"])
    assert more.node("chat").fingerprint != plan.node("chat").fingerprint, "other data are made anew"
    assert more.node("sft-main").inputs["chat"] is more.node("chat")


def test_seeds_share_the_data_and_differ_in_order(recipe: Recipe) -> None:
    runs = {arm.label: arm for arm in dag(recipe).node("court-rate").arms}
    assert list(runs) == [f"{name}.{seed}" for name in ("baseline", "gentle", "more") for seed in (0, 1)]
    assert len({run.train.fingerprint for run in runs.values()}) == 6
    chats = [run.train.inputs["chat"].fingerprint for run in runs.values()]
    assert len({*chats[:4]}) == 1 and len({*chats[4:]}) == 1 and chats[0] != chats[4]
    assert {run.plan.recipe.posttraining.sft[0].max_regression for run in runs.values() if run.plan.recipe.posttraining} == {1.0}


def test_pairs_made_on_policy_are_made_once_for_every_run() -> None:
    ladder = load("tiny", ["ablations={steps: [{name: pairs, stage: preference-main, template: {kind: pairs, values: [50, 100]}}]}"])
    court = dag(ladder).node("court-pairs")
    assert len(court.arms) == 6 and len({arm.train.inputs["pairs"].fingerprint for arm in court.arms}) == 1


def test_the_judge_is_given_what_was_preregistered(recipe: Recipe) -> None:
    node = dag(recipe).node("court-rate")
    assert isinstance(node.config, StepJudgeRequest)
    assert set(node.inputs) == {f"{arm.label}{end}" for arm in node.arms for end in ("", ".train")}
    assert node.config.votes == {"accuracy/all/greedy": "answers to held-out items, the same ones for every run"}
    assert node.config.baseline == {RATE: 3e-3, "posttraining.sft.main.sources.add.examples": 160}


def test_a_pinned_court_and_a_run_left_out(recipe: Recipe) -> None:
    asked: list[Node] = []
    dag(recipe, {"court-rate": "f" * 32}, lambda court: asked.append(court) or [])
    assert [node.fingerprint for node in asked] == ["f" * 32] and asked[0].arms == ()
    fewer = recipe.override(['ablations.steps.rate.left_out={"gentle.1": "its node lost a disk"}'])
    assert "gentle.1" not in [arm.label for arm in dag(fewer).node("court-rate").arms]


def test_it_needs_no_qualification_and_is_planned_before_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMOLFLOW_HOME", str(tmp_path))
    assert list(before_the_run(Desk.of("smoke-post", [COURT]), "cpu"))
    with pytest.raises(ConfigError, match="did you mean 'learning_rate'"):
        list(before_the_run(Desk.of("smoke-post", [COURT.replace("learning_rate", "learning_rat")]), "cpu"))
    with pytest.raises(GateError, match="may spend"):
        list(before_the_run(Desk.of("smoke-post", [COURT, "ablations.steps.rate.budget={device_hours: 1.0e-9}"]), "cpu"))


def test_a_court_over_a_step_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean 'sft-main'"):
        load("smoke-post", [COURT.replace("stage: sft-main", "stage: sft-man")])
    with pytest.raises(ConfigError, match="two courts are called 'rate'"):
        load("smoke-court", [COURT.replace("sft-main", "sft-x"), "ablations.courts.main.name=rate"])


def test_what_it_accepts_can_be_adopted(recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMOLFLOW_HOME", str(tmp_path))
    desk = Desk.of("smoke-post", [COURT])
    assert of_its_steps(desk) == [desk.plan.node("court-rate").fingerprint]
    case = recipe.ablations.steps[0]
    new = adopt(recipe, accepting(case, {"gentle"}), "f" * 32, "Ada")
    assert new.posttraining is not None and new.posttraining.sft[0].schedule.learning_rate == 1e-3
    assert [one.name for one in new.ablations.steps[0].modifications] == ["more"]
