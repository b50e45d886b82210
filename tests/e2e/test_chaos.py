"""Killed, cancelled, retried: nothing is lost, and the result is the same."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.e2e.conftest import Stack, make_stack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
LONGER = ["--set", "training.phases.stable.tokens=307200", "--set", "training.phases.stable.checkpoint_every=20"]


def wait_until(what: Callable[[], Any], seconds: float, why: str) -> Any:
    """Poll `what` until it returns something true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := what():
            return found
        time.sleep(0.3)
    pytest.fail(f"after {seconds} s: {why}")


def ranks(home: Path) -> list[psutil.Process]:
    """Training ranks that work in this stack's scratch."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        line = " ".join(process.info["cmdline"] or [])
        if "tasks.training.worker" in line and str(home) in line:
            found.append(process)
    return found


def parts(home: Path) -> list[str]:
    """Names of the sealed checkpoints of the stable phase."""
    return sorted(path.parent.name for path in (home / "store" / "workspaces" / "train-stable").rglob("step-*/part.json"))


def newest_run(stack: Stack) -> dict[str, Any]:
    """The playbook run that was created last."""
    body = {"sort": "START_TIME_DESC", "limit": 1, "flows": {"name": {"any_": ["playbook"]}}}
    runs: list[dict[str, Any]] = httpx.post(f"{stack.prefect}/api/flow_runs/filter", json=body).json()
    return runs[0]


def start(stack: Stack, overrides: list[str]) -> str:
    """Submit the playbook without following it; returns the run's id."""
    deployment = httpx.get(f"{stack.prefect}/api/deployments/name/playbook/cpu").json()
    values = [override for override in overrides if override != "--set"]
    body = {"parameters": {"recipe": "smoke", "overrides": values, "pool": "cpu"}}
    return str(httpx.post(f"{stack.prefect}/api/deployments/{deployment['id']}/create_flow_run", json=body).json()["id"])


def state(stack: Stack, run_id: str) -> str:
    """Type of a run's state."""
    return str(httpx.get(f"{stack.prefect}/api/flow_runs/{run_id}").json()["state"]["type"])


@pytest.fixture(scope="module")
def home(stack: Stack) -> Path:
    return stack.root / "home"


def test_cancel_saves_and_retry_goes_on(stack: Stack, home: Path) -> None:
    run_id = start(stack, LONGER)
    wait_until(lambda: parts(home), 240, "no checkpoint appeared")
    httpx.post(f"{stack.prefect}/api/flow_runs/{run_id}/set_state", json={"state": {"type": "CANCELLING"}})
    wait_until(lambda: state(stack, run_id) == "CANCELLED", 90, "the run was not cancelled")
    wait_until(lambda: not ranks(home), 30, "ranks outlived the cancelled run")
    saved = parts(home)
    retry = {"state": {"type": "SCHEDULED", "name": "AwaitingRetry"}, "force": True}
    httpx.post(f"{stack.prefect}/api/flow_runs/{run_id}/set_state", json=retry)
    wait_until(lambda: state(stack, run_id) == "COMPLETED", 400, "the retried run did not complete")
    assert saved, "cancelling left no checkpoint"


def test_killed_run_ends_with_the_same_losses(tmp_path: Path, stack: Stack, home: Path) -> None:
    """SIGKILL every rank in mid-training, run again: the metrics of the artifact equal those of a run that nobody disturbed."""
    overrides = [*LONGER, "--set", "training.seed=5"]
    run_id = start(stack, overrides)
    wait_until(lambda: len(parts(home)) > 1 and ranks(home), 240, "training did not get going")
    for process in ranks(home):
        process.send_signal(signal.SIGKILL)
    wait_until(lambda: state(stack, run_id) in ("FAILED", "CRASHED"), 90, "the run survived its ranks")
    stack.command("run", "--recipe", "smoke", *overrides, timeout=500)
    quiet = make_stack(tmp_path)
    env = quiet.env | {"PREFECT_SERVER_EPHEMERAL_ENABLED": "true"}
    undisturbed = Stack(quiet.root, env, stack.prefect, stack.mlflow)
    site = (quiet.root / "site.yaml").read_text().replace(quiet.prefect.rpartition(":")[2], stack.prefect.rpartition(":")[2])
    (quiet.root / "site.yaml").write_text(site)
    undisturbed.command("run", "--here", "--recipe", "smoke", *overrides, timeout=500)
    assert losses(home, stack, overrides) == losses(quiet.root / "home", undisturbed, overrides)


def losses(home: Path, stack: Stack, overrides: list[str]) -> list[tuple[int, float]]:
    """(step, loss) of the committed stable phase, read from its metrics."""
    import json

    rows = stack.json("explain", "--recipe", "smoke", *overrides)
    fingerprint = next(row["fingerprint"] for row in rows if row["stage"] == "train-stable")
    manifest = json.loads((home / "store" / "artifacts" / "train-stable" / fingerprint / "manifest.json").read_text())
    path = next(home.joinpath("store", "workspaces", "train-stable").rglob(f"{newest(manifest)}/metrics.jsonl"))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [(step, values["loss"]) for step, _, values in lines if "loss" in values]


def newest(manifest: dict[str, Any]) -> str:
    """Name of the part that a training manifest points to."""
    paths = [file["path"] for file in manifest["files"]]
    return next(piece for path in paths for piece in path.split("/") if piece.startswith("step-"))


def test_two_runs_of_one_recipe_do_not_collide(stack: Stack, home: Path) -> None:
    overrides = [*LONGER, "--set", "training.seed=9"]
    first, second = start(stack, overrides), start(stack, overrides)
    over = ("COMPLETED", "FAILED")
    ends = {wait_until(lambda one=one: state(stack, one) in over and state(stack, one), 500, "no end") for one in (first, second)}
    assert "COMPLETED" in ends
    stack.command("run", "--recipe", "smoke", *overrides, timeout=300)


def test_mlflow_away_does_not_stop_training(tmp_path: Path) -> None:
    alone = make_stack(tmp_path)
    alone.command("up")
    try:
        pid = next(row["pid"] for row in alone.json("status")["processes"] if row["name"] == "mlflow")
        for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
            os.kill(process.pid, signal.SIGKILL)
        alone.command("run", "--recipe", "smoke", timeout=500)
    finally:
        alone.command("down", check=False)
    assert {row["stage"] for row in alone.json("ls")} >= {"train-decay", "report"}
