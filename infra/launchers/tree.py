"""Ending every process of a job. torchrun gives each rank a session of its own, so no process group reaches them all."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

import psutil

JOB_DIR = "SMOLFLOW_JOB_DIR"
"""Variable in the environment of every process of a job: finds them even when the one that started them is gone."""
LOG = "log.txt"
"""Name of a job's log: what writes its errors there works for the job. A forked process shows the environment of its server."""


def members(job_dir: Path, leader: int | None = None) -> list[psutil.Process]:
    """Live processes that work for the job in `job_dir`, and those that descend from process `leader`; never this process."""
    found: dict[int, psutil.Process] = {}
    log = os.path.realpath(os.path.join(job_dir, LOG))  # as /proc shows it
    if leader is not None:
        with contextlib.suppress(psutil.NoSuchProcess):
            top = psutil.Process(leader)
            found |= {process.pid: process for process in [top, *top.children(recursive=True)]}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if _logs_to(process.pid, log) or process.environ().get(JOB_DIR) == str(job_dir):
                found[process.pid] = process
    found.pop(os.getpid(), None)
    return [process for process in found.values() if lives(process)]


def end(job_dir: Path, leader: int | None = None, grace: float = 20.0) -> list[int]:
    """End every process of the job: SIGTERM, up to `grace` seconds to save and leave, then SIGKILL.

    SIGTERM goes to `leader` alone while it lives (torchrun hands it on to its ranks), else to all of them.

    Returns:
        Process ids that needed SIGKILL.
    """
    family = members(job_dir, leader)
    first = [process for process in family if process.pid == leader] or family
    for process in first:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    try:
        _await(family, grace)
    finally:  # also when a second Ctrl-C cuts the wait short
        killed = _kill(job_dir, leader, family)
    return killed


def _logs_to(pid: int, log: str) -> bool:
    try:
        return os.readlink(f"/proc/{pid}/fd/2") == log
    except OSError:  # gone, another user's, or no /proc here: and nothing is forked
        return False


def _kill(job_dir: Path, leader: int | None, family: list[psutil.Process]) -> list[int]:
    killed: list[int] = []
    for _ in range(3):  # what was being forked while we looked is found the next time
        left = {process.pid: process for process in [*family, *members(job_dir, leader)] if lives(process)}
        if not left:
            break
        for process in left.values():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        killed += left
        _await(list(left.values()), 5.0)
    return sorted(set(killed))


def _await(family: list[psutil.Process], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and any(lives(process) for process in family):
        time.sleep(0.05)


def lives(process: psutil.Process | int) -> bool:
    """Whether a process, or the one with that id, is there and no zombie."""
    try:
        found = psutil.Process(process) if isinstance(process, int) else process
        return found.is_running() and found.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
