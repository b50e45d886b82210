"""`python -m infra.launchers.fork_server FD`: imports once what workers of one kind need, then forks a process for each job.

A worker of post-training spends 7 to 9 CPU seconds on imports (torch, transformers, TRL), one of training or evaluation 4 to 5: on a laptop
often more than on its work. FD is a socket on which requests arrive, each with a socket of its own for what is told about the process:
`pid N` and `exit CODE`, or `refused WHY`. When its other end is gone the process gets SIGTERM, as a started worker whose flow process died.
Without a client and without children the server leaves; signals that reach it with a whole group of processes are for its children alone.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import select
import selectors
import signal
import socket
import sys
from dataclasses import dataclass

from setproctitle import setproctitle

from infra.job import JobSpec
from infra.launchers.child import die_with

REQUEST_BYTES = 256 * 1024
"""More than a local socket takes as one message."""
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True)
class Request:
    """One job: the module whose `main(spec)` does it, and where its spec, its folder and its log are."""

    module: str
    spec: str
    job_dir: str
    log: str
    environment: dict[str, str | None]
    """What differs from the server's; None: not set."""


@dataclass(frozen=True)
class _Child:
    pid: int
    ended: int
    """A descriptor that can be read once the process has ended."""
    line: socket.socket


class _Server:
    def __init__(self, requests: socket.socket) -> None:
        self._requests = requests
        self._selector = selectors.DefaultSelector()
        self._selector.register(requests, selectors.EVENT_READ)
        self._children: list[_Child] = []

    def serve(self) -> Request | None:
        """Returns in the child, with what it is to do; in the server itself when nobody is left to serve."""
        while self._selector.get_map():
            for key, _ in self._selector.select():
                child: _Child | None = key.data
                if child is None:
                    request = self._take()
                    if request is not None:
                        return request
                elif key.fd == child.ended:
                    self._bury(child)
                elif child in self._children:
                    self._hang_up(child)
        return None

    def _take(self) -> Request | None:
        message, handed, *_ = socket.recv_fds(self._requests, REQUEST_BYTES, 1)
        if not message:  # the client is gone
            self._selector.unregister(self._requests)
            return None
        if not handed:  # out of descriptors: who asks hears that the line is gone
            return None
        request, line = Request(**json.loads(message)), socket.socket(fileno=handed[0])
        _import(request)
        if _is_given_up(line):  # while the imports took their time
            line.close()
            return None
        gc.freeze()  # what is imported is garbage in no child: no collection looks at it, and its pages stay shared
        server = os.getpid()
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)  # one that comes now is for the child, once it can obey
        try:
            pid = os.fork()
        except OSError as error:
            pid = -1
            _refuse(line, error)
        if pid == 0:
            self._leave(line)
            _become(request, server)
            return request
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        if pid > 0:
            self._keep(pid, line)
        return None

    def _keep(self, pid: int, line: socket.socket) -> None:
        try:
            child = _Child(pid, os.pidfd_open(pid), line)
        except OSError as error:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            _refuse(line, error)
            return
        self._children.append(child)
        for source in (child.ended, child.line):
            self._selector.register(source, selectors.EVENT_READ, child)
        _tell(child.line, f"pid {child.pid}")

    def _hang_up(self, child: _Child) -> None:
        """The other end is gone: nobody waits for the child any more."""
        os.kill(child.pid, signal.SIGTERM)
        self._selector.unregister(child.line)

    def _bury(self, child: _Child) -> None:
        _, status = os.waitpid(child.pid, 0)
        _tell(child.line, f"exit {os.waitstatus_to_exitcode(status)}")
        self._children.remove(child)
        for source in (child.ended, child.line):
            with contextlib.suppress(KeyError):
                self._selector.unregister(source)
        os.close(child.ended)
        child.line.close()

    def _leave(self, line: socket.socket) -> None:
        """In a child: let go of what is the server's, so that its end is noticed although children of it live."""
        self._selector.close()
        self._requests.close()
        line.close()
        for child in self._children:
            os.close(child.ended)
            child.line.close()


def _is_given_up(line: socket.socket) -> bool:
    poll = select.poll()
    poll.register(line, select.POLLIN)  # nothing is ever said there, so this is the end
    return bool(poll.poll(0))


def _refuse(line: socket.socket, error: OSError) -> None:
    _tell(line, f"refused {error}")
    line.close()


def _tell(line: socket.socket, what: str) -> None:
    with contextlib.suppress(OSError):
        line.sendall(f"{what}\n".encode())


def _import(request: Request) -> None:
    with contextlib.suppress(Exception, SystemExit):  # the child meets it again, where it is seen
        importlib.import_module(request.module).preload(JobSpec.read(request.spec))


def _become(request: Request, server: int) -> None:
    """Turn a forked process into what a started one would be."""
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    die_with(server)
    os.chdir(request.job_dir)
    log = os.open(request.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    for descriptor in (sys.stdout.fileno(), sys.stderr.fileno()):
        os.dup2(log, descriptor)
    os.close(log)
    for name, value in request.environment.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    sys.argv = [request.module, request.spec]
    setproctitle(f"{sys.executable} -m {request.module} {request.spec}")  # what ps, top and pgrep -f tell of a started one
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()  # else forks of one server draw the same where nothing is seeded; `random` sees to itself
    gc.enable()


def main(descriptor: int) -> int:
    """Serve; in a child do the work. Returns the exit code."""
    gc.disable()
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    request = _Server(socket.socket(fileno=descriptor)).serve()
    if request is None:
        return 0
    code: int = importlib.import_module(request.module).main(JobSpec.read(request.spec))
    return code


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
