"""The local stack as a person uses it: `smolflow up`, flows through the worker, `cancel`, `down`; one start for all tests, in order."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.schedules import CronSchedule
from prefect.states import Running

from deployments.automations import ZOMBIE
from deployments.registration import Deployable, register
from infra.site import CHECKOUT, Site
from infra.stack import is_up, status
from infra.stack.process import record_of
from infra.stack.servers import healthy
from tests.e2e.tiny_flows import hello, hold, killed
from tests.infra.launchers.children import is_gone, read_pids, wait_for
from tests.servers import local_site, stop_all

pytestmark = pytest.mark.timeout(400)


class Stack:
    """A site, and the command on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.site: Site = local_site(folder / "home", pools={"cpu": {"limit": 4}, "gpu": {"kind": "gpu", "limit": 1, "worker": False}})
        (folder / "site.yaml").write_text(self.site.to_yaml())
        (folder / "person").mkdir()

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `smolflow` as a person in another folder would."""
        environment = os.environ | {
            "SMOLFLOW_SITE": str(self.folder / "site.yaml"),
            "PYTHONPATH": str(CHECKOUT),
            "HOME": str(self.folder / "person"),
        }
        program = [sys.executable, "-m", "deployments.command", *arguments]
        return subprocess.run(program, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=350)

    def ok(self, *arguments: str) -> str:
        """Run `smolflow`, which must succeed; returns what it printed."""
        done = self.command(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def client(self) -> SyncPrefectClient:
        """Client of the stack's Prefect server."""
        return SyncPrefectClient(self.site.prefect_api)

    def submit(self, deployment: str, **parameters: Any) -> FlowRun:
        """Start a run for the worker."""
        with self.client() as client:
            return client.create_flow_run_from_deployment(client.read_deployment_by_name(deployment).id, parameters=parameters)

    def state(self, run: FlowRun) -> StateType | None:
        """Type of the run's state now."""
        with self.client() as client:
            state = client.read_flow_run(run.id).state
        return state.type if state else None

    def await_state(self, run: FlowRun, wanted: StateType, seconds: float = 90.0) -> None:
        """Wait until the run is in that state; a final one that is another fails at once."""
        with self.client() as client:
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline:
                state = client.read_flow_run(run.id).state
                if state is not None and state.type is wanted:
                    return
                assert state is None or not state.is_final(), f"{state.name}: {state.message}"
                time.sleep(0.5)
        pytest.fail(f"not {wanted} after {seconds} s")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    made = Stack(tmp_path_factory.mktemp("stack"))
    try:
        print(made.ok("up"))
        register(made.site, [_tiny(hello), _tiny(hold), _tiny(killed)])
        yield made
    finally:
        stop_all(made.site)


def _tiny(flow: Any, **changes: Any) -> Deployable:
    return Deployable(flow, f"tests.e2e.tiny_flows.{flow.name}", "cpu", **changes)


def test_all_three_answer_and_say_where_they_are(stack: Stack) -> None:
    assert is_up(stack.site)
    assert healthy(f"{stack.site.mlflow.url}/health")
    assert healthy(stack.site.prefect.url), "the UI"
    said = json.loads(stack.ok("status", "--json"))
    assert said["up"]
    assert [(row["name"], row["alive"]) for row in said["processes"]] == [("prefect", True), ("mlflow", True), ("worker", True)]
    assert all(Path(row["log"]).is_file() for row in said["processes"])


def test_pools_have_their_limits_queues_and_template(stack: Stack) -> None:
    with stack.client() as client:
        cpu, gpu = client.read_work_pool("cpu"), client.read_work_pool("gpu")
        queues = {queue.name: queue.priority for queue in client.read_work_queues(work_pool_name="gpu")}
    assert (cpu.concurrency_limit, gpu.concurrency_limit) == (4, 1)
    assert queues["high"] < queues["low"]
    assert cpu.base_job_template["variables"]["properties"]["stream_output"]["default"] is False
    assert str(stack.folder) not in json.dumps(cpu.base_job_template), "no path of this machine"


def test_the_playbook_and_every_stage_are_offered_with_defaults_that_need_no_input(stack: Stack) -> None:
    with stack.client() as client:
        names = ["playbook", "source", "curate", "tokenizer", "tokenize", "train", "convert", "evaluate", "report"]
        found = [client.read_deployment_by_name(f"{name}/cpu") for name in names]
    for deployment in found:
        assert deployment.parameters == {"pool": "cpu"}
        assert not deployment.parameter_openapi_schema["required"] if "required" in deployment.parameter_openapi_schema else True
        assert deployment.concurrency_limit is None
        assert not deployment.pull_steps and deployment.path is None
        assert deployment.description


def test_a_run_through_the_worker_finds_site_folder_and_interpreter(stack: Stack) -> None:
    run = stack.submit("hello/cpu", steps=5)
    stack.await_state(run, StateType.COMPLETED)
    wait_for(lambda: "interpreter" in stack.ok("logs", run.name))
    said = stack.ok("logs", run.name)
    assert f"folder {stack.folder}" in said
    assert f"site {stack.site.home / 'stack' / 'site.yaml'}" in said
    assert f"interpreter {stack.site.interpreter}" in said


def test_up_again_starts_nothing_and_repeats_nothing(stack: Stack) -> None:
    before = [row.pid for row in status(stack.site)]
    said = stack.ok("up")
    assert said.count("already runs") == 3
    assert [row.pid for row in status(stack.site)] == before
    with stack.client() as client:
        (zombie,) = client.read_automations_by_name(ZOMBIE)
    assert zombie.enabled


def test_a_person_s_own_prefect_profile_is_untouched(stack: Stack) -> None:
    assert not (stack.folder / "person" / ".prefect" / "profiles.toml").exists()
    assert (stack.site.home / "prefect" / "prefect.db").is_file()


def test_a_schedule_made_in_the_ui_gets_its_runs_and_is_left_alone(stack: Stack) -> None:
    nightly = DeploymentScheduleCreate(schedule=CronSchedule(cron="0 2 * * *", timezone="Europe/Berlin"), active=True)
    with stack.client() as client:
        deployment = client.read_deployment_by_name("hello/cpu").id
        client.create_deployment_schedules(deployment, [nightly])
        register(stack.site, [_tiny(hello, schedules=[nightly])])
        register(stack.site, [_tiny(hello)])
        (made,) = client.read_deployment(deployment).schedules
        assert made.schedule == nightly.schedule
        mine = DeploymentFilter(id=DeploymentFilterId(any_=[deployment]))

        def scheduled() -> list[FlowRun]:
            return [run for run in client.read_flow_runs(deployment_filter=mine) if run.state and run.state.type is StateType.SCHEDULED]

        wait_for(lambda: len(scheduled()) >= 3, seconds=150)
        client.delete_deployment_schedule(deployment, made.id)
    assert "Can't evaluate" not in (stack.site.home / "stack" / "prefect.log").read_text()


def test_cancel_lets_the_job_save_and_leaves_no_process(stack: Stack) -> None:
    job = stack.folder / "cancelled"
    run = stack.submit("hold/cpu", job=str(job))
    pids = read_pids(job / "pids") if _appears(job / "pids") else []
    assert "Cancelled" in stack.ok("cancel", run.name)
    assert (job / "saved").read_text() == "step 13"
    assert pids and all(is_gone(pid) for pid in pids)
    assert "no active run" in stack.command("cancel", run.name).stderr


def _appears(path: Path) -> bool:
    wait_for(path.exists, seconds=90)
    return True


def test_logs_of_a_server_and_of_nothing(stack: Stack) -> None:
    assert "started" in stack.ok("logs", "--server", "worker")
    assert "name one of: prefect, mlflow, worker" in stack.command("logs", "--server", "postgres").stderr
    assert "no run is called" in stack.command("logs", "never-was").stderr


@pytest.mark.slow
def test_retry_right_after_a_crash_is_not_undone_and_without_it_the_run_stays_crashed(stack: Stack) -> None:
    """The worker reports a crash once, whether the run waits again or runs again by the time it has looked for hooks."""
    runs = {retry: stack.submit("killed/cpu", retry=retry) for retry in ("waiting", "running", "never")}
    for retry, run in runs.items():
        wait_for(lambda run=run: _ended_for_good(stack, run), seconds=120)
        with stack.client() as client:
            names = [state.name for state in client.read_flow_run_states(run.id)]
        assert names.count("Crashed") == 1 and names[-1] == ("Crashed" if retry == "never" else "Completed"), f"{retry}: {names}"
        wait_for(lambda run=run: "SIGKILL" in stack.ok("logs", str(run.id)))


def _ended_for_good(stack: Stack, run: FlowRun) -> bool:
    with stack.client() as client:
        found = client.read_flow_run(run.id)
    assert found.state is not None
    return found.state.is_completed() or (found.parameters["retry"] == "never" and found.state.is_final())


@pytest.mark.slow
def test_a_run_whose_worker_and_process_were_killed_is_crashed_by_its_missing_heartbeat(stack: Stack) -> None:
    job = stack.folder / "killed"
    run = stack.submit("hold/cpu", job=str(job))
    wait_for(job.joinpath("pids").exists, seconds=90)
    time.sleep(35)  # a first heartbeat must have been sent, or there is none to miss
    worker = record_of(stack.site.home, "worker")
    assert worker is not None
    family = psutil.Process(worker.pid).children(recursive=True)
    for pid in [worker.pid, *(process.pid for process in family if "prefect.engine" in " ".join(process.cmdline()))]:
        os.kill(pid, signal.SIGKILL)
    stack.await_state(run, StateType.CRASHED, seconds=200)
    wait_for(lambda: (job / "saved").exists(), seconds=30)
    assert "worker" in json.dumps(json.loads(stack.ok("status", "--json")))
    stack.ok("up")


def test_a_run_that_no_worker_holds_cannot_be_cancelled_and_says_why(stack: Stack) -> None:
    with stack.client() as client:
        client.create_flow_run(hello, name="smoke · curate", state=Running())
    assert "cancel the playbook run" in stack.command("cancel", "smoke · curate").stderr


def test_down_settles_what_runs_and_leaves_nothing_behind(stack: Stack) -> None:
    with stack.client() as client:
        orphan = client.create_flow_run(hello, name="orphan", state=Running())
    job = stack.folder / "settled"
    run = stack.submit("hold/cpu", job=str(job))
    wait_for(job.joinpath("pids").exists, seconds=90)
    family = [
        process for row in status(stack.site) for process in [psutil.Process(row.pid), *psutil.Process(row.pid).children(recursive=True)]
    ]
    said = stack.ok("down")
    assert "cancelling 1 active run" in said
    assert (job / "saved").read_text() == "step 13"
    assert status(stack.site) == []
    assert all(is_gone(process.pid) for process in family)
    assert all(is_gone(pid) for pid in read_pids(job / "pids"))
    assert _final_state_in_database(stack, run) == "CANCELLED"
    assert _final_state_in_database(stack, orphan) == "CRASHED", "its process is gone, and nobody else would ever say so"
    assert "nothing runs" in stack.ok("down")


def _final_state_in_database(stack: Stack, run: FlowRun) -> str:
    import sqlite3

    with sqlite3.connect(stack.site.home / "prefect" / "prefect.db") as database:
        (state,) = database.execute("select state_type from flow_run where id = ?", (str(run.id),)).fetchone()
    return str(state)
