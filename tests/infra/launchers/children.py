"""Small real children instead of a training: they fork, ignore signals, write progress and results as workers do."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

STUBBORN_RANK = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(600)"
)
RANKS = f"""
import subprocess, sys, time, pathlib
ranks = [subprocess.Popen([sys.executable, "-c", {STUBBORN_RANK!r}], start_new_session=True) for _ in range(2)]
pathlib.Path("pids").write_text(" ".join(str(rank.pid) for rank in ranks))
time.sleep(600)
"""
"""An agent whose ranks live in sessions of their own and ignore SIGTERM."""


def python(code: str) -> list[str]:
    """Command that runs `code`."""
    return [sys.executable, "-c", code]


def environment() -> dict[str, str]:
    """Environment of a child."""
    return {"PATH": os.environ["PATH"]}


def wait_for(condition: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait until `condition` is true; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail("waited in vain")
        time.sleep(0.05)


def is_gone(pid: int) -> bool:
    """Whether no live process has that id."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def read_pids(path: Path) -> list[int]:
    """Process ids in a file, once it is written."""
    wait_for(lambda: path.exists() and path.read_text())
    return [int(word) for word in path.read_text().split()]
