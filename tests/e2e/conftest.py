"""A real local stack on free ports in a folder of its own, driven by the command as a person would."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

CHECKOUT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    """A TCP port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Stack:
    """A site of its own and the command that works on it."""

    root: Path
    env: dict[str, str]
    prefect: str
    mlflow: str

    def command(self, *arguments: str, timeout: float = 300, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run `smolflow ARGUMENTS`; its output stands in the failure message."""
        argv = [sys.executable, "-m", "deployments.command", *arguments]
        done = subprocess.run(argv, cwd=self.root, env=self.env, capture_output=True, text=True, timeout=timeout)
        if check and done.returncode != 0:
            pytest.fail(f"smolflow {' '.join(arguments)} ended with {done.returncode}\n{done.stdout[-6000:]}\n{done.stderr[-6000:]}")
        return done

    def json(self, *arguments: str) -> Any:
        """What a command prints with --json."""
        return json.loads(self.command(*arguments, "--json").stdout)


def make_stack(root: Path, **site: Any) -> Stack:
    """A site file on free ports under `root`, not started."""
    prefect, mlflow = free_port(), free_port()
    document = {"name": "test", "home": str(root / "home"), "prefect": {"port": prefect}, "mlflow": {"port": mlflow}, **site}
    path = root / "site.yaml"
    path.write_text(yaml.safe_dump(document))
    env = os.environ | {"SMOLFLOW_SITE": str(path), "PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return Stack(root, env, f"http://127.0.0.1:{prefect}", f"http://127.0.0.1:{mlflow}")


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The local stack, started once for all tests that drive it."""
    made = make_stack(tmp_path_factory.mktemp("stack"))
    made.command("up")
    try:
        yield made
    finally:
        made.command("down", check=False)
