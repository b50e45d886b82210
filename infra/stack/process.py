"""Background processes of the stack: start, remember, recognise, stop. Each leaves <home>/stack/<name>.json and <name>.log."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from contracts.config import Config
from contracts.errors import ConfigError
from infra.launchers import clean_start

CLOCK_SECONDS = 2.0
"""A process's start time is derived from the boot time, which clock adjustments move a little."""


class Record(Config):
    """One background process as it was started."""

    name: str
    """prefect, mlflow, worker or worker-<pool>."""
    url: str
    """Where a person looks at it."""
    pid: int
    """Process id; also its session and process group."""
    started: float
    """Start time of that process in Unix seconds: a recycled pid has another."""
    log: Path
    """Its output."""

    @property
    def alive(self) -> bool:
        """Whether that very process still runs."""
        return self.process() is not None

    def process(self) -> psutil.Process | None:
        """The process, or None when it is gone or its pid belongs to another by now."""
        with contextlib.suppress(psutil.NoSuchProcess):
            found = psutil.Process(self.pid)
            if abs(found.create_time() - self.started) <= CLOCK_SECONDS and found.status() != psutil.STATUS_ZOMBIE:
                return found
        return None


def records(home: Path) -> list[Record]:
    """What was started under `home`, alive or not, in the order of their start."""
    found = []
    for path in (home / "stack").glob("*.json"):
        with contextlib.suppress(ConfigError, FileNotFoundError):  # half-written by a killed `up`, or removed by a `down` beside us
            found.append(Record.from_yaml(path.read_text(encoding="utf-8"), where=str(path)))
    return sorted(found, key=lambda record: record.started)


def record_of(home: Path, name: str) -> Record | None:
    """The process of that name, if one is recorded."""
    return next((record for record in records(home) if record.name == name), None)


def start(home: Path, name: str, url: str, program: Sequence[str], environment: Mapping[str, str], folder: Path) -> Record:
    """Start `program` in a session of its own, with its output in a file, and remember it."""
    place = home / "stack"
    place.mkdir(parents=True, exist_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    log = place / f"{name}.log"
    if log.exists():
        log.replace(log.with_suffix(".log.1"))
    with log.open("ab") as output:
        process = subprocess.Popen(
            clean_start(program),
            env=dict(environment),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    record = Record(name=name, url=url, pid=process.pid, started=psutil.Process(process.pid).create_time(), log=log)
    path = place / f"{name}.json"
    path.with_suffix(".tmp").write_text(record.model_dump_json(indent=2), encoding="utf-8")
    path.with_suffix(".tmp").replace(path)
    return record


def stop(home: Path, record: Record, grace: float = 15.0) -> bool:
    """End the process and what it started: SIGTERM, `grace` seconds, SIGKILL; then forget it. True when SIGKILL was needed."""
    forced = False
    process = record.process()
    if process is not None:
        family = [process, *_children(process)]
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
        _, left = psutil.wait_procs(family, timeout=grace)
        forced = bool(left)
        for member in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        psutil.wait_procs(left, timeout=5)
    (home / "stack" / f"{record.name}.json").unlink(missing_ok=True)
    return forced


def tail(log: Path, lines: int = 20) -> str:
    """The last lines of a log."""
    try:
        return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
    except FileNotFoundError:
        return "(no log)"


def _children(process: psutil.Process) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.children(recursive=True)
    return []
