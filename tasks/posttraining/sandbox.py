"""Running generated Python: a process of its own, with limits, without network, without a view of other processes.

What the machine offers is probed once, and `level()` says which protection was reached. Not protected: files that everybody may read are
readable, folders that everybody may write to (/tmp, /dev/shm) are writable, and no system call is filtered.
"""

from __future__ import annotations

import contextlib
import functools
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from contracts.errors import ResourceError

NOBODY = 65534
_PRIVATE = ("--user", "--map-root-user", "--net", "--pid", "--ipc", "--uts", "--mount", "--mount-proc", "--fork", "--kill-child")
_LAUNCHES: tuple[tuple[str, ...], ...] = (
    _PRIVATE,
    tuple(flag for flag in _PRIVATE if flag not in ("--ipc", "--uts", "--mount", "--mount-proc")),
    ("--user", "--map-root-user", "--net"),
)
"""Namespaces asked of `unshare`, strongest first."""
_GUARD = """
import resource, sys
for name, value in zip(("CPU", "AS", "NPROC", "FSIZE", "NOFILE", "CORE"), map(int, sys.argv[1:])):
    resource.setrlimit(getattr(resource, "RLIMIT_" + name), (value, value))
sys.argv[1:] = []
exec(compile(open("main.py").read(), "main.py", "exec"), {"__name__": "__main__"})
"""
"""Limits itself, then runs the code. Not done between fork and exec here: that may deadlock in a process with threads."""


class Outcome(NamedTuple):
    """What one run did."""

    passed: bool
    """It ended by itself, with exit code 0."""
    ended: Literal["exit", "signal", "time"]
    """By itself, by a signal (a limit, a crash), or killed when its time was up."""
    output: str
    """What it printed, cut to the limit."""
    error: str
    """The last of what it wrote to standard error."""
    seconds: float
    """Wall time."""


@dataclass(frozen=True)
class Limits:
    """What one run may use."""

    seconds: float = 4.0
    """Wall time."""
    cpu_seconds: int = 2
    memory_mib: int = 512
    """Address space."""
    processes: int = 64
    """Processes of the sandbox's user at once."""
    file_kib: int = 1024
    """Largest file, standard output included."""
    output_kib: int = 64
    """How much of its output is read."""


@dataclass(frozen=True)
class Level:
    """The protection that this machine gives."""

    namespaces: tuple[str, ...]
    """Flags of `unshare` that work; empty: none."""
    user: int | None
    """User id that the code runs under; None: our own."""
    python: str
    """Interpreter that this user can run."""

    @property
    def network(self) -> bool:
        """Whether the code is cut off from the network."""
        return "--net" in self.namespaces

    @property
    def processes(self) -> bool:
        """Whether the code neither sees nor outlives other processes."""
        return "--pid" in self.namespaces

    def __str__(self) -> str:
        if not self.namespaces:
            return "resource limits alone: network and processes are open"
        closed = [flag.removeprefix("--") for flag in self.namespaces if flag in ("--net", "--pid", "--ipc", "--uts", "--mount")]
        return f"resource limits, private {', '.join(closed)}" + (f", user {self.user}" if self.user is not None else "")


@functools.cache
def level() -> Level:
    """The strongest protection that works here, found by trying.

    Raises:
        ResourceError: no interpreter can be started under it.
    """
    user = NOBODY if os.getuid() == 0 else None  # root of a user namespace would still write root's files
    unshare = shutil.which("unshare")
    pythons = list(dict.fromkeys(filter(None, (sys.executable, shutil.which("python3", path="/usr/bin:/usr/local/bin:/bin")))))
    for namespaces in (*_LAUNCHES, ()) if unshare else ((),):
        for python in pythons:
            found = Level(namespaces, user, python)
            if _works(found):
                return found
    raise ResourceError(
        f"no Python interpreter can be run by user {user}" if user is not None else "no Python interpreter can be run",
        where=", ".join(pythons), do="install python3 where every user may run it, for example from the distribution's packages",
    )  # fmt: skip


def require_isolation() -> Level:
    """The level, if generated code may be run under it at all.

    Raises:
        ResourceError: the network or other processes would be open to it.
    """
    found = level()
    if not (found.network and found.processes):
        do = "allow user namespaces (unshare of util-linux; in a container: --security-opt seccomp=unconfined), or leave out code_tests"
        raise ResourceError(f"generated code would not be locked in: {found}", where="reward code_tests", do=do)
    return found


def run_code(code: str, stdin: str = "", limits: Limits | None = None, under: Level | None = None) -> Outcome:
    """Run Python source with the standard library alone, in an empty folder. Never raises for what the code does.

    Args:
        code: the source.
        stdin: what it can read.
        limits: what it may use.
        under: the protection; by default the strongest there is.

    Raises:
        ResourceError: as `level`.
    """
    limits, under = limits or Limits(), under or level()
    with tempfile.TemporaryDirectory(prefix="sandbox-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        for file, text in (("main.py", code), ("stdin", stdin)):
            (folder / file).write_text(text, encoding="utf-8", errors="replace")
        if under.user is not None:
            os.chown(folder, under.user, under.user)
            for file in ("main.py", "stdin"):
                os.chown(folder / file, under.user, under.user)
        return _run(folder, limits, under)


def _run(folder: Path, limits: Limits, under: Level) -> Outcome:
    values = (limits.cpu_seconds, limits.memory_mib << 20, limits.processes, limits.file_kib << 10, 64, 0)
    command = [*_launcher(under), under.python, "-I", "-S", "-B", "-c", _GUARD, *map(str, values)]
    began = time.monotonic()
    with (folder / "stdin").open("rb") as given, (folder / "stdout").open("w+b") as said, (folder / "stderr").open("w+b") as complained:
        child = subprocess.Popen(
            command, cwd=folder, stdin=given, stdout=said, stderr=complained, start_new_session=True, env=_environment(folder), **_as(under)
        )  # fmt: skip
        in_time = _wait(child, limits.seconds)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)  # what it left behind too; with a namespace of processes nothing survives its first one
        status = child.wait()
        seconds = time.monotonic() - began
        output, error = _first(said, limits.output_kib << 10), _last(complained, 2000)
    # unshare passes a signal that ended the code on as its own end, or as 128 + its number
    ended: Literal["exit", "signal", "time"] = "time" if not in_time else "signal" if status < 0 or status > 128 else "exit"
    return Outcome(ended == "exit" and status == 0, ended, output, error, seconds)


def _wait(child: subprocess.Popen[bytes], seconds: float) -> bool:
    """Whether it ended in time. Not Popen.wait, which looks every 50 ms: longer than most samples run."""
    handle = os.pidfd_open(child.pid)
    try:
        return bool(select.select([handle], [], [], seconds)[0])
    finally:
        os.close(handle)


def _works(tried: Level) -> bool:
    command = [*_launcher(tried), tried.python, "-I", "-S", "-c", "import resource"]
    try:
        return subprocess.run(command, cwd="/", capture_output=True, timeout=20, env=_environment(Path("/")), **_as(tried)).returncode == 0
    except (OSError, subprocess.SubprocessError):
        return False


def _launcher(under: Level) -> list[str]:
    return [shutil.which("unshare") or "unshare", *under.namespaces] if under.namespaces else []


def _as(under: Level) -> dict[str, Any]:
    return {} if under.user is None else {"user": under.user, "group": under.user, "extra_groups": []}


def _environment(folder: Path) -> dict[str, str]:
    """Nothing of ours: keys and tokens stand in the environment of a worker."""
    return {"PATH": "/usr/bin:/bin", "HOME": str(folder), "TMPDIR": str(folder), "LANG": "C.UTF-8"}


def _first(file: Any, size: int) -> str:
    file.seek(0)
    return bytes(file.read(size)).decode("utf-8", "replace")


def _last(file: Any, size: int) -> str:
    file.seek(max(0, file.seek(0, os.SEEK_END) - size))
    return bytes(file.read(size)).decode("utf-8", "replace")
