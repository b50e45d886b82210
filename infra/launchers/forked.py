"""Workers forked from a process that has imported already what they need (`infra.launchers.fork_server`)."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from infra.launchers import clean_start
from infra.launchers.fork_server import Request
from infra.launchers.process import Process, Start
from infra.launchers.tree import JOB_DIR

LOST = 1
"""Exit code of a process whose server ended first; its own is not known."""


def forked(module: str, spec: Path, environment: Mapping[str, str], settings: Mapping[str, str]) -> Start:
    """A start of `module` on the job spec in the file `spec`. The first of a module starts a server, which stays as long as this process.

    Args:
        module: has `preload(spec)`, which imports, and `main(spec)`, which works and returns the exit code.
        environment: of the process; the job's folder is added.
        settings: more of it, which libraries read when they are imported: workers that differ in them come from different servers.
    """
    return lambda job_dir, log: _server(module, environment, settings).start(module, spec, job_dir, log, {**environment, **settings})


class _Forked:
    """A process that is known by what its server tells."""

    def __init__(self, line: socket.socket, log: Path) -> None:
        self._line, self._heard, self._log = line, b"", log
        self._pid: int | None = None
        self._code: int | None = None

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
        if self.poll() is None:
            self._line.sendall(b"kill")

    def _listen(self, timeout: float | None) -> None:
        until = None if timeout is None else time.monotonic() + timeout
        while self._code is None:
            left = None if until is None else max(0.0, until - time.monotonic())
            if not select.select([self._line], [], [], left)[0]:
                return
            self._heard += self._line.recv(256) or self._lost()
            *lines, self._heard = self._heard.split(b"\n")
            for line in lines:
                word, number = line.split()
                self._pid, self._code = (int(number), None) if word == b"pid" else (self._pid, int(number))
        self._line.close()

    def _lost(self) -> bytes:
        with self._log.open("a") as log:
            log.write("the process that workers are forked from ended before this one; what ended it?\n")
        return b"exit %d\n" % LOST


class _Server:
    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = {**environment, "PYTHONUNBUFFERED": "1"}
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            # No SIGTERM when its parent dies: that would be sent when the thread ends that starts it. The closed socket tells it.
            self._process = subprocess.Popen(
                clean_start([sys.executable, "-P", "-m", "infra.launchers.fork_server", str(theirs.fileno())]),
                env=self._environment,
                cwd=os.sep,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )

    def lives(self) -> bool:
        return self._process.poll() is None

    def start(self, module: str, spec: Path, job_dir: Path, log: Path, environment: Mapping[str, str]) -> Process:
        own = {**environment, JOB_DIR: str(job_dir), "PYTHONUNBUFFERED": "1"}
        changes = {name: own.get(name) for name in own.keys() | self._environment.keys() if own.get(name) != self._environment.get(name)}
        request = Request(module, str(spec), str(job_dir), str(log), changes)
        line, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self._requests, [json.dumps(asdict(request)).encode()], [theirs.fileno()])
        return _Forked(line, log)


_servers: dict[tuple[str, frozenset[tuple[str, str]]], _Server] = {}
_starting = threading.Lock()


def _server(module: str, environment: Mapping[str, str], settings: Mapping[str, str]) -> _Server:
    which = (module, frozenset(settings.items()))
    with _starting:
        if which not in _servers or not _servers[which].lives():
            _servers[which] = _Server({**environment, **settings})
        return _servers[which]
