"""The process of a job, and ways to start it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from infra.launchers import clean_start
from infra.launchers.tree import JOB_DIR


class Process(Protocol):
    """What the watch needs of a process; `subprocess.Popen` is one."""

    @property
    def pid(self) -> int | None:
        """None: not started yet."""

    def poll(self) -> int | None:
        """Its exit code, negative for a signal; None while it lives."""

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code.

        Raises:
            subprocess.TimeoutExpired: it lives after `timeout` seconds.
        """

    def kill(self) -> None:
        """End it at once; one that is not started yet never will be."""


Start = Callable[[Path, Path], Process]
"""Starts the process of a job: called with its folder, which becomes the working folder, and its log, which gets all that it writes."""


def spawned(program: Sequence[str], environment: Mapping[str, str]) -> Start:
    """A start of `program`, which gets SIGTERM when this process dies.

    Args:
        program: command and arguments.
        environment: whole environment; the job's folder is added.
    """

    def start(job_dir: Path, log: Path) -> Process:
        with log.open("ab") as output:
            return subprocess.Popen(
                clean_start(program, die_with=os.getpid()),
                env={**environment, JOB_DIR: str(job_dir), "PYTHONUNBUFFERED": "1"},
                cwd=job_dir,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    return start
