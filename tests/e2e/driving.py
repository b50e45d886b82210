"""A local stack of its own, driven by the `smolflow` command and the Prefect API as a person would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from glob import iglob
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml

from infra.launchers import clean_start
from infra.site import CHECKOUT
from infra.stack.ports import free_port

FINAL = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
COMMAND = [sys.executable, "-m", "deployments.command"]


@dataclass(frozen=True)
class Stack:
    """A site of its own and the command that works on it."""

    root: Path
    env: dict[str, str]
    prefect: str
    mlflow: str

    @property
    def home(self) -> Path:
        """Folder of all its state."""
        return self.root / "home"

    def command(self, *arguments: str, timeout: float = 300, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run `smolflow ARGUMENTS`; its output stands in the failure message."""
        argv = [*COMMAND, *arguments]
        done = subprocess.run(argv, cwd=self.root, env=self.env, capture_output=True, text=True, timeout=timeout)
        if check and done.returncode != 0:
            pytest.fail(f"smolflow {' '.join(arguments)} ended with {done.returncode}\n{done.stdout[-6000:]}\n{done.stderr[-6000:]}")
        return done

    def refused(self, *arguments: str, timeout: float = 120) -> str:
        """Run `smolflow ARGUMENTS`, which must be refused as a person can act on; returns what it said."""
        done = self.command(*arguments, timeout=timeout, check=False)
        assert done.returncode == 1, f"ended with {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        assert "\nsmolflow: " in f"\n{done.stderr}", done.stderr[-3000:]
        assert "Traceback" not in done.stderr, done.stderr[-3000:]
        return done.stderr

    def json(self, *arguments: str) -> Any:
        """What a command prints with --json."""
        return json.loads(self.command(*arguments, "--json").stdout)

    def started(self, *arguments: str) -> subprocess.Popen[str]:
        """`smolflow ARGUMENTS` in the background, with a SIGINT that works even where this suite itself runs in the background."""
        pipe = subprocess.PIPE
        return subprocess.Popen(clean_start([*COMMAND, *arguments]), cwd=self.root, env=self.env, stdout=pipe, stderr=pipe, text=True)

    def with_env(self, more: Mapping[str, str]) -> Stack:
        """The same site with more in the environment of its commands."""
        return replace(self, env=self.env | dict(more))

    def submit(self, deployment: str = "playbook/cpu", **parameters: Any) -> str:
        """Create a run of a deployment, as the UI's form does; returns the run's id."""
        found = httpx.get(f"{self.prefect}/api/deployments/name/{deployment}", timeout=30).json()
        body = {"parameters": found["parameters"] | parameters}
        return str(self._post(f"deployments/{found['id']}/create_flow_run", body).json()["id"])

    def _post(self, call: str, body: dict[str, Any]) -> httpx.Response:
        """Ask the Prefect API, again while it says that it is busy (503: its database is locked), as the UI and the client do."""

        def answer() -> httpx.Response | None:
            said = httpx.post(f"{self.prefect}/api/{call}", json=body, timeout=30)
            return said.raise_for_status() if said.status_code != 503 else None

        found: httpx.Response = wait_until(answer, 60, f"the Prefect server stays busy: {call}")
        return found

    def flow_run(self, run_id: str) -> dict[str, Any]:
        """A flow run as the API tells it."""
        return dict(httpx.get(f"{self.prefect}/api/flow_runs/{run_id}", timeout=30).json())

    def set_state(self, run_id: str, kind: str, **more: Any) -> None:
        """What the Cancel and Retry buttons of the UI do."""
        self._post(f"flow_runs/{run_id}/set_state", {"state": {"type": kind, **more}, "force": kind == "SCHEDULED"})

    def resume(self, run_id: str, **answers: Any) -> str:
        """What the form behind the UI's Resume button does; returns whether the server accepts the answers."""
        return str(self._post(f"flow_runs/{run_id}/resume", {"run_input": answers}).json()["status"])

    def flow_runs(self, **query: Any) -> list[dict[str, Any]]:
        """Flow runs, oldest first."""
        return list(self._post("flow_runs/filter", {"sort": "START_TIME_ASC", "limit": 200, **query}).json())

    def fingerprints(self, overrides: Sequence[str] = ()) -> dict[str, str]:
        """Identity of every stage of the smoke recipe with these overrides."""
        return {row["stage"]: row["fingerprint"] for row in self.json("explain", "--recipe", "smoke", *sets(overrides))}

    def ends(self, run_id: str, seconds: float = 240) -> str:
        """Wait for a run's final state; returns its type."""
        return str(wait_until(lambda: self._final(run_id), seconds, "the run has not ended"))

    def _final(self, run_id: str) -> str | None:
        kind = str(self.flow_run(run_id)["state"]["type"])
        return kind if kind in FINAL else None

    def ranks(self) -> list[psutil.Process]:
        """Processes of training jobs that work in this site's scratch, torchrun agents included."""
        found = []
        for process in psutil.process_iter(["cmdline", "status"]):
            line = " ".join(process.info["cmdline"] or [])
            if "tasks.training.worker" in line and str(self.home) in line and process.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(process)
        return found

    def flow_processes(self) -> list[psutil.Process]:
        """Processes of flow runs that this site's workers started."""
        found = []
        for process in psutil.process_iter(["cmdline"]):
            try:
                mine = process.environ().get("SMOLFLOW_HOME") == str(self.home)
            except (psutil.Error, OSError):
                continue
            if mine and "prefect.engine" in " ".join(process.info["cmdline"] or []):
                found.append(process)
        return found

    def parts(self, stage: str = "train-stable") -> list[str]:
        """Names of the sealed checkpoints of a phase, in a store that is a folder, while others are deleted (`Path.rglob` would raise)."""
        found = iglob(f"{self.home}/store/workspaces/{stage}/**/step-*/part.json", recursive=True)
        return sorted(Path(name).parent.name for name in found)

    def kill_flow_runs(self) -> None:
        """End the processes of flow runs and all that they started with SIGKILL, as a machine that dies would."""
        for flow in self.flow_processes():
            for process in [*flow.children(recursive=True), flow]:
                with suppress(psutil.NoSuchProcess):
                    process.kill()

    def kill(self, server: str) -> None:
        """End a server or worker and what it started with SIGKILL."""
        pid = next(row["pid"] for row in self.json("status")["processes"] if row["name"] == server)
        for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
            process.kill()


def make_stack(root: Path, **site: Any) -> Stack:
    """A site file on free ports under `root`, not started."""
    prefect, mlflow = free_port(), free_port()
    document = {"name": "test", "home": str(root / "home"), "prefect": {"port": prefect}, "mlflow": {"port": mlflow}, **site}
    path = root / "site.yaml"
    path.write_text(yaml.safe_dump(document))
    env = os.environ | {"SMOLFLOW_SITE": str(path), "PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return Stack(root, env, f"http://127.0.0.1:{prefect}", f"http://127.0.0.1:{mlflow}")


def sets(overrides: Sequence[str]) -> list[str]:
    """Overrides as arguments of the command."""
    return [word for override in overrides for word in ("--set", override)]


def wait_until(what: Callable[[], Any], seconds: float, why: str) -> Any:
    """Poll `what` until it returns something true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := what():
            return found
        time.sleep(0.3)
    pytest.fail(f"after {seconds} s: {why}")
