"""Killed, cancelled, cut off, retried: nothing is lost, and the result is the same."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.driving import Stack, sets, wait_until
from tests.e2e.mlflow_api import loss_steps, mlflow_run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
STEPS = 400
LONGER = [f"training.phases.stable.tokens={STEPS * 1024}", "training.phases.stable.checkpoint_every=50"]


def longer(seed: int) -> list[str]:
    """Overrides for a stable phase of some 20 s that no other test trains."""
    return [*LONGER, f"training.seed={seed}"]


def in_training(stack: Stack, checkpoints: int = 1) -> list[str]:
    """Wait until a phase that had no checkpoint has some, and ranks are at work; returns the names of the new ones."""
    before = set(stack.parts())
    return list(wait_until(lambda: _new(stack, before, checkpoints), 200, "training did not get going"))


def _new(stack: Stack, before: set[str], checkpoints: int) -> list[str]:
    new = sorted(set(stack.parts()) - before)
    return new if len(new) >= checkpoints and stack.ranks() else []


def test_cancel_saves_and_retry_goes_on(smoke: Stack) -> None:
    """The two buttons of the UI: Cancel in mid-training, then Retry of the same run."""
    overrides = longer(3)
    run = smoke.submit(recipe="smoke", overrides=overrides)
    workspace = in_training(smoke)
    smoke.set_state(run, "CANCELLING")
    assert smoke.ends(run, 60) == "CANCELLED"
    wait_until(lambda: not smoke.ranks() and not smoke.flow_processes(), 15, "processes outlived the cancelled run")
    saved = checkpoints(smoke)
    assert saved[-1] >= int(workspace[-1].partition("step-")[2])
    assert saved[-1] % 50, "it was saved when it was asked to end"
    smoke.set_state(run, "SCHEDULED", name="AwaitingRetry")
    wait_until(lambda: smoke.flow_run(run)["run_count"] == 2, 60, "the run was not taken again")
    assert smoke.ends(run, 300) == "COMPLETED"
    assert f"begins after step {saved[-1]} of {STEPS}" in smoke.command("logs", run, "--lines", "1000").stdout
    identity = smoke.fingerprints(overrides)["train-stable"]
    assert loss_steps(smoke, mlflow_run(smoke, "smoke", identity)) == set(range(1, STEPS + 1))


def test_killed_ranks_are_told_and_the_rest_ends_with_the_losses_of_an_undisturbed_run(smoke: Stack, tmp_path: Path) -> None:
    """First the ranks are killed, then the flow's process with its ranks, each in mid-training; then to the end."""
    overrides = longer(5)
    stage = ("run", "train-stable", "--recipe", "smoke", *sets(overrides))
    first = smoke.started(*stage)
    in_training(smoke)
    for process in smoke.ranks():
        if "torch.distributed.run" not in process.cmdline():
            process.kill()
    _, said = first.communicate(timeout=90)
    assert first.returncode == 1
    assert "SIGKILL" in said, said
    assert "ran out of memory, or somebody ended it" in said
    assert "run the same command again" in said
    second = smoke.started(*stage)
    in_training(smoke, 2)
    for process in [*smoke.flow_processes(), *smoke.ranks()]:
        process.kill()
    _, said = second.communicate(timeout=120)
    assert second.returncode == 1
    assert "Crashed" in said, said
    assert smoke.ranks() == []
    smoke.command(*stage)
    manifest = smoke.json("show", smoke.fingerprints(overrides)["train-stable"])["manifest"]
    assert len([one for one in manifest["interventions"] if "ended without a word" in one]) == 2
    assert losses(smoke, overrides) == losses(undisturbed(smoke, tmp_path, stage), overrides)


def undisturbed(stack: Stack, root: Path, stage: tuple[str, ...]) -> Stack:
    """The same stack with another store, that has the data but in which nobody has trained; `stage` is run there."""
    shutil.copytree(stack.home / "store", root / "store", ignore=shutil.ignore_patterns("train-*"))
    site = yaml.safe_load((stack.root / "site.yaml").read_text()) | {"store": str(root / "store"), "scratch": str(root / "scratch")}
    (root / "site.yaml").write_text(yaml.safe_dump(site))
    other = stack.with_env({"SMOLFLOW_SITE": str(root / "site.yaml")})
    other.command(*stage, "--here")
    return other


def losses(stack: Stack, overrides: list[str]) -> list[tuple[int, float]]:
    """(step, loss) of the committed stable phase: every step once, in order."""
    manifest = stack.json("show", stack.fingerprints(overrides)["train-stable"])["manifest"]
    (place,) = (file["at"] for file in manifest["files"] if file["path"] == "metrics.jsonl")
    store = Path(yaml.safe_load(Path(stack.env["SMOLFLOW_SITE"]).read_text()).get("store", stack.home / "store"))
    lines = [json.loads(line) for line in (store / place).read_text().splitlines()]
    found = [(step, values["loss"]) for step, _, values in lines if "loss" in values]
    assert [step for step, _ in found] == list(range(1, STEPS + 1))
    return found


def checkpoints(stack: Stack) -> list[int]:
    """Steps of the checkpoints in the workspace that was worked in last."""
    root = stack.home / "store" / "workspaces" / "train-stable"
    workspace = max(root.iterdir(), key=lambda place: max(path.stat().st_mtime for path in place.rglob("part.json")))
    return sorted(int(path.parent.name.removeprefix("step-")) for path in workspace.rglob("step-*/part.json"))


def test_of_two_runs_at_once_one_works_and_the_other_is_told(smoke: Stack) -> None:
    overrides = longer(9)
    runs = [smoke.submit(recipe="smoke", overrides=overrides) for _ in range(2)]
    ends = {run: smoke.ends(run, 400) for run in runs}
    assert "COMPLETED" in ends.values(), ends
    for run in (run for run, end in ends.items() if end != "COMPLETED"):
        state = smoke.flow_run(run)["state"]
        assert "train-stable" in state["message"] or "curate" in state["message"], state
        assert "What to do" in state["message"], state
    assert "nothing to do" in smoke.command("run", "--recipe", "smoke", *sets(overrides)).stdout
    assert len(losses(smoke, overrides)) == STEPS


def test_training_goes_on_while_both_servers_are_away(smoke: Stack) -> None:
    """MLflow dies before training, the Prefect server in the middle of it for 20 s; afterwards both know everything."""
    overrides = longer(13)
    following = smoke.started("run", "train-stable", "--recipe", "smoke", *sets(overrides))
    smoke.kill("mlflow")
    in_training(smoke)
    smoke.kill("prefect")
    before, began = set(smoke.parts()), time.monotonic()
    wait_until(lambda: set(smoke.parts()) - before, 60, "training stood still without its servers")
    time.sleep(max(0.0, 20 - (time.monotonic() - began)))
    smoke.command("up")
    told, complaints = following.communicate(timeout=200)
    assert following.returncode == 0, told + complaints
    assert "Prefect server does not answer" in told
    identity = smoke.fingerprints(overrides)["train-stable"]
    wait_until(lambda: loss_steps(smoke, mlflow_run(smoke, "smoke", identity)) == set(range(1, STEPS + 1)), 30, "points are missing")


def test_down_settles_the_run_and_the_next_one_goes_on(smoke: Stack) -> None:
    overrides = longer(17)
    stage = ("run", "train-stable", "--recipe", "smoke", *sets(overrides))
    following = smoke.started(*stage)
    in_training(smoke)
    told = smoke.command("down", timeout=120).stdout
    assert "cancelling 1 active run" in told
    assert not smoke.ranks() and not smoke.flow_processes()
    _, said = following.communicate(timeout=60)
    assert following.returncode == 1
    assert "Cancelled" in said and "newest checkpoint" in said, said
    saved = checkpoints(smoke)
    assert saved and saved[-1] < STEPS
    smoke.command("up")
    done: dict[str, Any] = smoke.json(*stage)
    assert "train-stable" in done["stages"]
    assert f"begins after step {saved[-1]} of {STEPS}" in smoke.command("logs", "--lines", "1000").stdout
