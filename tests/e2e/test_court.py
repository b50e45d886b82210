"""A court as a person runs it: the line with one in it, what the servers show, and sweeps that are killed, fail in part or diverge."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from flows.desk import Desk
from tests.e2e.driving import Stack, sets, wait_until

pytestmark = pytest.mark.timeout(900)
RUNS = ["baseline.0", "baseline.1", "muon.0", "muon.1"]
HOT = (
    "ablations.courts.main.modifications=[{name: hot, hypothesis: a rate far too high is no rate at all, "
    "change: {training.phases.*.schedule.learning_rate: 500.0}}, "
    "{name: gentle, hypothesis: more momentum in the second moment loses nothing, change: {training.optimizer.beta2: 0.99}}]"
)
CASE = [HOT, "ablations.courts.main.seeds=[5, 6]"]


@pytest.fixture(scope="module")
def judged(smoke: Stack) -> Stack:
    """The stack after `smolflow run --recipe smoke-court`, which goes on from smoke's artifacts."""
    smoke.command("run", "--recipe", "smoke-court", timeout=500)
    return smoke


def explained(stack: Stack, overrides: list[str] | None = None) -> dict[str, dict[str, Any]]:
    """Outlook of every stage of smoke-court."""
    return {row["stage"]: row for row in stack.json("explain", "--recipe", "smoke-court", *sets(overrides or []))}


def manifest(stack: Stack, fingerprint: str) -> dict[str, Any]:
    return dict(stack.json("show", fingerprint)["manifest"])


def committed(stack: Stack, *stages: str) -> dict[str, str]:
    """Fingerprint -> when it was committed."""
    return {row["fingerprint"]: row["created"] for row in stack.json("ls") if row["stage"] in stages}


def test_the_court_decides_what_the_main_run_trains(judged: Stack) -> None:
    rows = explained(judged)
    assert {row["verdict"] for row in rows.values()} == {"reused"}
    court = manifest(judged, rows["court-main"]["fingerprint"])
    decided = court["evidence"]["decisions"]
    assert [one["modification"]["name"] for one in decided] == ["muon"]
    assert set(RUNS) <= set(court["inputs"])
    trained = manifest(judged, rows["train-stable"]["fingerprint"])["config"]["config"]["optimizer"]["kind"]
    assert trained == ("muon" if decided[0]["state"] == "accepted" else "adamw")
    assert rows["source"]["fingerprint"] == judged.fingerprints()["source"]
    assert "nothing to do" in judged.command("run", "--recipe", "smoke-court", timeout=60).stdout


def test_the_report_tells_the_verdict(judged: Stack) -> None:
    page = Path(judged.command("report", "--recipe", "smoke-court").stdout.strip()).read_text()
    court = manifest(judged, explained(judged)["court-main"]["fingerprint"])
    assert "Ablations" in page
    assert court["evidence"]["decisions"][0]["sentence"].split(";")[0] in page


def test_runs_and_their_steps_are_tasks_of_the_courts_flow(judged: Stack) -> None:
    (flow_run,) = judged.flow_runs(flow_runs={"name": {"any_": ["smoke-court · court-main"]}})
    found = httpx.post(
        f"{judged.prefect}/api/task_runs/filter", json={"flow_runs": {"id": {"any_": [flow_run["id"]]}}, "limit": 200}
    ).json()
    states = {one["name"]: one["state"]["type"] for one in found}
    assert {name: states.get(name) for name in RUNS} == dict.fromkeys(RUNS, "COMPLETED")
    assert {f"{run} {step}" for run in RUNS for step in ("train-arm", "evaluate")} <= set(states)


def test_runs_are_nested_in_mlflow(judged: Stack) -> None:
    api = f"{judged.mlflow}/api/2.0/mlflow"
    experiment = httpx.get(f"{api}/experiments/get-by-name", params={"experiment_name": "smoke-court"}).json()["experiment"]
    body = {"experiment_ids": [experiment["experiment_id"]], "max_results": 200}
    runs = httpx.post(f"{api}/runs/search", json=body).json()["runs"]
    parent = {run["info"]["run_id"]: {tag["key"]: tag["value"] for tag in run["data"]["tags"]}.get("mlflow.parentRunId") for run in runs}
    named = {run["info"]["run_name"]: run["info"]["run_id"] for run in runs}
    assert {parent[named[f"{run} train-arm"]] for run in RUNS} == {named["court-main"]}
    assert parent[named["court-main"]] == named["playbook"]


@pytest.mark.slow
def test_a_killed_sweep_repeats_nothing_that_is_done(judged: Stack) -> None:
    case = ["ablations.courts.main.seeds=[0, 3, 4]"]
    run = judged.submit("court/cpu", recipe="smoke-court", overrides=case)
    before = committed(judged, "train-arm", "evaluate")
    wait_until(lambda: set(committed(judged, "evaluate")) - set(before), 300, "no run of the sweep was done")
    for process in judged.flow_processes():
        process.kill()
    assert judged.ends(run, 60) == "CRASHED"
    done = committed(judged, "train-arm", "evaluate")
    judged.set_state(run, "SCHEDULED", name="AwaitingRetry")
    wait_until(lambda: judged.flow_run(run)["run_count"] == 2, 60, "the run was not taken again")
    assert judged.ends(run, 400) == "COMPLETED"
    after = committed(judged, "train-arm", "evaluate")
    assert {one: after[one] for one in done} == done
    assert len(after) == len(before) + 2 * 4  # two new seeds of two arms; seed 0 was there


@pytest.mark.slow
def test_one_run_fails_and_one_diverges(judged: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others go on, the table keeps both, and a retry repeats the failed one alone."""
    for name in ("SMOLFLOW_SITE",):
        monkeypatch.setenv(name, judged.env[name])
    court = Desk.of("smoke-court", CASE).plan.node("court-main")
    arm = next(arm for arm in court.arms if arm.label == "gentle.6")
    obstacle = judged.home / "store" / "workspaces" / "train-arm" / arm.train.workspace_key
    obstacle.parent.mkdir(parents=True, exist_ok=True)
    obstacle.write_text("where a folder belongs")
    told = judged.refused("run", "court-main", "--recipe", "smoke-court", *sets(CASE), timeout=400)
    assert "1 of 6 runs failed" in told and "gentle.6" in told and "left_out" in told
    others = committed(judged, "train-arm", "evaluate")
    obstacle.unlink()
    judged.command("run", "court-main", "--recipe", "smoke-court", *sets(CASE), timeout=300)
    after = committed(judged, "train-arm", "evaluate")
    assert {one: after[one] for one in others} == others
    assert set(after) - set(others) == {arm.train.fingerprint, arm.evaluate.fingerprint}
    decided = {one["modification"]["name"]: one for one in manifest(judged, court.fingerprint)["evidence"]["decisions"]}
    assert (decided["hot"]["outcome"], decided["hot"]["state"]) == ("worse", "rejected")
    assert "diverged" in decided["hot"]["sentence"]
    assert decided["gentle"]["state"] != "accepted"


@pytest.mark.slow
def test_a_run_given_up_on_stays_in_the_table(judged: Stack) -> None:
    case = [*CASE, 'ablations.courts.main.left_out={"gentle.6": "its node lost a disk"}']
    judged.command("run", "court-main", "--recipe", "smoke-court", *sets(case), timeout=300)
    rows = explained(judged, case)
    folder = judged.home / "store" / "artifacts" / "court-main" / rows["court-main"]["fingerprint"]
    (page,) = [
        path for path in judged.home.joinpath("store").rglob("court.json") if _is_of(path, rows["court-main"]["fingerprint"], folder)
    ]
    told = json.loads(page.read_text())
    assert [run["left_out"] for run in told["runs"] if (run["arm"], run["seed"]) == ("gentle", 6)] == ["its node lost a disk"]
    assert next(one for one in told["decisions"] if one["modification"]["name"] == "gentle")["outcome"] == "under-powered"


def _is_of(path: Path, fingerprint: str, folder: Path) -> bool:
    """Whether a file of the store belongs to that artifact: its parts lie in the workspace of the same key."""
    return fingerprint in str(path) or folder in path.parents


@pytest.mark.slow
def test_a_qualification_says_which_metrics_may_vote(smoke: Stack) -> None:
    """Four seeds at five lengths: longer runs go on from the shorter ones, and every evaluation of them is an input of the judgement."""
    case = ["ablations.qualification.evaluation.suite=bits_per_byte", "ablations.qualification.evaluation.bits_per_byte.heldout_bytes=6000"]
    smoke.command("run", "qualify", "--recipe", "smoke-qualify", *sets(case), timeout=560)
    (row,) = [row for row in smoke.json("explain", "--recipe", "smoke-qualify", *sets(case)) if row["stage"] == "qualify"]
    found = smoke.json("show", row["fingerprint"])
    assert len(found["manifest"]["inputs"]) == 20
    evidence = found["manifest"]["evidence"]
    assert evidence["qualified"]["bits_per_byte"] is True, evidence["why"]
    assert "monotonicity 1" in evidence["why"]["bits_per_byte"]
    assert found["records"]["gate-qualification"]["verdict"] == "passed"
