"""Workers forked from a process that has imported already what they need (`infra.launchers.fork_server`)."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

from infra.launchers import clean_start
from infra.launchers.fork_server import Request
from infra.launchers.process import Process, Start
from infra.launchers.tree import JOB_DIR, lives

LOST = 1
"""Exit code of a process that never was, or whose server ended first."""
LAST_BYTES = 4096


def forked(module: str, spec: Path, environment: Mapping[str, str], settings: Mapping[str, str]) -> Start:
    """A start of `module` on the job spec in the file `spec`. The first of a module starts a server, which stays as long as this process.

    Args:
        module: has `preload(spec)`, which imports, and `main(spec)`, which works and returns the exit code.
        environment: of the process; the job's folder is added.
        settings: more of it, which libraries read when they are imported: workers that differ in them come from different servers.
    """
    own = {**environment, **settings}

    def start(job_dir: Path, log: Path) -> Process:
        try:
            return _server(module, settings, own).start(module, spec, job_dir, log, own)
        except (BrokenPipeError, ConnectionResetError):  # it ended since it was looked at
            return _server(module, settings, own).start(module, spec, job_dir, log, own)

    return start


class _Forked:
    """A process that is known by what its server tells."""

    def __init__(self, line: socket.socket, log: Path, last_words: Callable[[], str]) -> None:
        self._line, self._heard, self._log, self._last_words = line, b"", log, last_words
        self._pid: int | None = None
        self._code: int | None = None
        self._lost = False

    @property
    def pid(self) -> int | None:
        self._listen(0.0)
        return self._pid

    def poll(self) -> int | None:
        self._listen(0.0)
        return self._code

    def wait(self, timeout: float | None = None) -> int:
        self._listen(timeout)
        if self._code is None:
            raise subprocess.TimeoutExpired("a forked worker", timeout or 0.0)
        return self._code

    def kill(self) -> None:
        """End it without waiting for the server, which may be busy importing; a closed line is never forked for."""
        if self.poll() is None:
            if self._pid is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._pid, signal.SIGKILL)
            self._end(-signal.SIGKILL)

    def _listen(self, timeout: float | None) -> None:
        until = float("inf") if timeout is None else time.monotonic() + timeout
        while self._code is None:
            left = max(0.0, until - time.monotonic())
            if self._lost:  # the server; the worker was given SIGTERM by that and may be saving
                if self._pid is None or not lives(self._pid):
                    self._end(LOST)
                elif left == 0:
                    return
                else:
                    time.sleep(min(0.05, left))
                continue
            poll = select.poll()
            poll.register(self._line, select.POLLIN)
            if not poll.poll(None if until == float("inf") else left * 1000):
                return
            self._hear()

    def _hear(self) -> None:
        try:
            news = self._line.recv(256)
        except ConnectionResetError:
            news = b""
        if not news:
            self._lost = True
            self._note(f"the process that workers are forked from ended before this one: {self._last_words()}")
        *lines, self._heard = (self._heard + news).split(b"\n")
        for word, _, rest in (line.decode().partition(" ") for line in lines):
            if word == "pid":
                self._pid = int(rest)
            elif word == "exit":
                self._end(int(rest))
            else:
                self._note(f"no process could be forked for this job: {rest}")
                self._end(LOST)

    def _note(self, what: str) -> None:
        with self._log.open("a") as log:
            log.write(f"{what}\n")

    def _end(self, code: int) -> None:
        self._code = code
        self._line.close()


class _Server:
    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = {**environment, "PYTHONUNBUFFERED": "1"}
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # Not a job's log: whoever writes its errors there is taken for a process of that job.
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 as long as the server
        with theirs:
            # No SIGTERM when its parent dies: that would be sent when the thread ends that starts it. The closed socket tells it.
            self._process = subprocess.Popen(
                clean_start([sys.executable, "-P", "-m", "infra.launchers.fork_server", str(theirs.fileno())]),
                env=self._environment,
                cwd=os.sep,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
                start_new_session=True,
            )

    def lives(self) -> bool:
        return self._process.poll() is None and self._requests.fileno() >= 0

    def last_words(self) -> str:
        """How it ended, and what it wrote."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        written = os.pread(self._errors.fileno(), LAST_BYTES, max(0, os.fstat(self._errors.fileno()).st_size - LAST_BYTES))
        return f"exit code {self._process.returncode}\n{written.decode('utf-8', 'replace')}".rstrip()

    def start(self, module: str, spec: Path, job_dir: Path, log: Path, environment: Mapping[str, str]) -> Process:
        """Raises OSError where the server is gone."""
        own = {**environment, JOB_DIR: str(job_dir), "PYTHONUNBUFFERED": "1"}
        changes = {name: own.get(name) for name in own.keys() | self._environment.keys() if own.get(name) != self._environment.get(name)}
        request = Request(module, str(spec), str(job_dir), str(log), changes)
        line, theirs = socket.socketpair()
        with theirs:
            try:
                socket.send_fds(self._requests, [json.dumps(asdict(request)).encode()], [theirs.fileno()])
            except (BrokenPipeError, ConnectionResetError):
                line.close()
                self._requests.close()
                raise
        return _Forked(line, log, self.last_words)


_servers: dict[tuple[str, frozenset[tuple[str, str]]], _Server] = {}
_starting = threading.Lock()


def _server(module: str, settings: Mapping[str, str], environment: Mapping[str, str]) -> _Server:
    which = (module, frozenset(settings.items()))
    with _starting:
        if which not in _servers or not _servers[which].lives():
            _servers[which] = _Server(environment)
        return _servers[which]
