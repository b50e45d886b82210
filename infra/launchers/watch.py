"""Watching one job: its process tree, its log, its progress, its result."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.launchers.failure import explain
from infra.launchers.process import Process, Start
from infra.launchers.tailing import Tail, Throttle
from infra.launchers.tree import LOG, end

GRACE_SECONDS = 20.0
"""Time to save a checkpoint after SIGTERM. Prefect kills a flow process 30 s after a cancel: this must end before."""
POLL_SECONDS = 0.25
LOG_BYTES = 256 * 1024

OnLine = Callable[[str], object]
OnProgress = Callable[[float, float, str], object]


@dataclass(frozen=True)
class Result:
    """How a job ended."""

    code: int
    """0 done, 75 resume me, 76 a person must decide, anything else failed."""
    log: Path
    """Everything its processes wrote, of all attempts."""
    reason: str = ""
    """Why, when it is not done."""
    error: str = ""
    """Stable code of the error, where the worker named one."""
    part: str = ""
    """Name of the part that holds the result."""
    summary: dict[str, Any] = field(default_factory=dict)
    """What the worker says about what it made."""


def run(
    start: Start,
    job_dir: Path,
    *,
    on_line: OnLine,
    on_progress: OnProgress,
    check: Callable[[], object] | None = None,
    grace: float = GRACE_SECONDS,
) -> Result:
    """Start a process in `job_dir` and follow it to its end.

    Whatever goes wrong here (Ctrl-C, a cancel, `check` raising), no process of the job outlives this call; when this process itself is
    killed, the program gets SIGTERM. Processes that an earlier attempt left are ended first.

    Args:
        start: starts it.
        job_dir: the job's folder: working folder of its processes; holds log, progress.jsonl and result.json.
        on_line: gets log lines, at a bounded rate. An exception in it, or in `on_progress`, is no reason to stop a job.
        on_progress: gets (done, total, note).
        check: called every poll; what it raises ends the job and is raised here.
        grace: seconds between SIGTERM and SIGKILL.
    """
    job_dir = Path(os.path.abspath(job_dir))
    job_dir.mkdir(parents=True, exist_ok=True)
    end(job_dir, grace=grace)
    for name in ("result.json", "progress.jsonl"):
        (job_dir / name).unlink(missing_ok=True)
    log = job_dir / LOG
    log.touch()
    screen = _Screen(job_dir, log, on_line, on_progress)
    process: Process | None = None
    try:
        process = start(job_dir, log)
        while process.poll() is None:
            screen.refresh()
            if check is not None:
                check()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(POLL_SECONDS)
    except BaseException:
        killed = end(job_dir, process.pid if process else None, grace)
        if process:
            process.kill()
            process.wait()
            killed += end(job_dir, grace=0.0)  # what a server forked while we looked
        screen.refresh(last=True)
        screen.say(f"stopped the processes of {job_dir.name}" + (f"; {len(killed)} of them by SIGKILL" if killed else ""))
        raise
    end(job_dir, grace=0.0)  # ranks that outlived their agent
    screen.refresh(last=True)
    return _result(job_dir, log, screen.began_at, process.wait())


class _Screen:
    """Passes the log and the progress on; a display that fails does not end a training run."""

    def __init__(self, job_dir: Path, log: Path, on_line: OnLine, on_progress: OnProgress) -> None:
        self.began_at = log.stat().st_size
        self._log, self._progress = Tail(log), Tail(job_dir / "progress.jsonl")
        self._path, self._on_line, self._on_progress = log, Throttle(on_line), on_progress

    def say(self, line: str) -> None:
        """Pass one line on."""
        with contextlib.suppress(Exception, SystemExit):  # a console on a broken pipe raises SystemExit
            self._on_line(line)

    def refresh(self, last: bool = False) -> None:
        """Pass on what is new; with `last` also unfinished lines, and how many were left out."""
        for line in self._log.lines(last):
            self.say(line)
        news = self._progress.lines()
        if news:
            with contextlib.suppress(Exception, SystemExit):
                newest = json.loads(news[-1])
                self._on_progress(float(newest["done"]), float(newest["total"]), str(newest.get("note", "")))
        if last and self._on_line.dropped:
            time.sleep(1 / 20)
            self.say(f"{self._on_line.dropped} lines were not shown; the whole log is {self._path}")


def _result(job_dir: Path, log: Path, began_at: int, exit_code: int) -> Result:
    said = _read_result(job_dir / "result.json")
    with log.open("rb") as handle:
        handle.seek(max(began_at, log.stat().st_size - LOG_BYTES))
        text = handle.read().decode("utf-8", "replace")
    if said is None:
        return Result(exit_code if exit_code > 0 else 1, log, explain(text, exit_code))
    code = int(said["exit"])
    reason = str(said.get("reason") or "")
    return Result(
        code=code,
        log=log,
        reason=reason if code == 0 else explain(text, exit_code, reason),
        error=str(said.get("code") or ""),
        part=str(said.get("part") or ""),
        summary=dict(said.get("summary") or {}),
    )


def _read_result(path: Path) -> dict[str, Any] | None:
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return said if isinstance(said, dict) and isinstance(said.get("exit"), int) else None
