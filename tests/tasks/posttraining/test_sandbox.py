"""Generated code that behaves badly: what it costs is its own sample."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from contracts.errors import ResourceError
from tasks.posttraining import sandbox
from tasks.posttraining.sandbox import Level, Limits, Outcome, level, require_isolation, run_code

QUICK = Limits(seconds=2.0, cpu_seconds=1, memory_mib=256, processes=32, file_kib=256, output_kib=16)
isolated = pytest.mark.skipif(
    not (level().network and level().processes) and os.environ.get("CI") != "true",  # there a missing protection is a failure
    reason=f"this machine gives {level()}",
)


@pytest.fixture
def server() -> Iterator[socket.socket]:
    """A real listening socket of this machine."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.5)
        yield listening


def run(code: str, stdin: str = "") -> Outcome:
    """The code under the strongest protection of this machine."""
    return run_code(code, stdin, QUICK)


def test_ordinary_code_runs_and_reads_its_input() -> None:
    """Output, input and exit code pass through."""
    done = run("n = int(input())\nprint(n * 2)", "21\n")
    assert (done.passed, done.ended, done.output) == (True, "exit", "42\n")
    failed = run("raise ValueError('no')")
    assert not failed.passed
    assert "ValueError: no" in failed.error


@pytest.mark.parametrize("code", ["while True: pass", "import time; time.sleep(60)"])
def test_what_does_not_end_is_ended(code: str) -> None:
    """A loop ends by its processor time, a sleep by the wall clock; both within seconds."""
    began = time.monotonic()
    assert not run(code).passed
    assert time.monotonic() - began < 15


def test_a_flood_of_output_is_cut() -> None:
    """Neither memory nor disk of ours fills up."""
    done = run("while True: print('x' * 10000)")
    assert not done.passed
    assert len(done.output) <= QUICK.output_kib << 10


def test_a_flood_of_errors_is_cut() -> None:
    """Standard error is bounded like standard output."""
    done = run("import sys\nwhile True: sys.stderr.write('x' * 10000)")
    assert not done.passed
    assert len(done.error) <= 2000


def test_memory_is_bounded() -> None:
    """The allocation fails inside; our process keeps its memory."""
    assert "MemoryError" in run("x = 'a' * (1 << 30)").error


def test_limits_cannot_be_raised() -> None:
    """Limits are hard, for the root of a user namespace too."""
    assert not run("import resource; resource.setrlimit(resource.RLIMIT_AS, (-1, -1))").passed


@isolated
def test_forks_are_bounded_and_none_survives() -> None:
    """A fork bomb meets the limit on processes; what it started dies with it."""
    mark = f"{os.getpid()}{time.time_ns()}"
    sleeper = f"os.execv(sys.executable, [sys.executable, '-c', 'import time; time.sleep(99)', '{mark}'])"
    done = run(
        "import os, sys\nn = 0\ntry:\n  for _ in range(200):\n"
        f"    if os.fork() == 0:\n      os.setsid(); {sleeper}\n    n += 1\nexcept OSError:\n  pass\nprint(n)"
    )
    assert 0 < int(done.output) < QUICK.processes
    assert _gone(mark)


@isolated
def test_it_reaches_no_server(server: socket.socket) -> None:
    """A server of this very machine is out of reach."""
    port = server.getsockname()[1]
    done = run(f"import socket; socket.create_connection(('127.0.0.1', {port}), 1).send(b'hello')")
    assert not done.passed
    with pytest.raises(TimeoutError):
        server.accept()


@isolated
def test_it_cannot_kill_its_parent_or_anybody() -> None:
    """It sees the processes of its own namespace alone; whoever it kills, we go on."""
    for code in ("os.kill(os.getppid(), 9)", "os.kill(-1, 9)", f"os.kill({os.getpid()}, 9)"):
        run(f"import os; {code}")
    assert run("import os; print(sum(name.isdigit() for name in os.listdir('/proc')))").output.strip() in ("1", "2")


def test_nothing_of_our_environment_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys stand in the environment of a worker."""
    monkeypatch.setenv("SMOLFLOW_JUDGE_KEY", "secret")
    assert "secret" not in run("import os; print(dict(os.environ))").output


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives up its user")
def test_files_of_root_cannot_be_written(tmp_path: Path) -> None:
    """The code runs as nobody."""
    victim = tmp_path / "victim"
    victim.write_text("whole")
    assert not run(f"open({str(victim)!r}, 'w')").passed
    assert victim.read_text() == "whole"


def test_its_folder_is_removed() -> None:
    """A sample leaves nothing behind in the place for temporary files."""
    folder = run("import os; open('left', 'w').write('x'); os.chmod('.', 0o500); print(os.getcwd())").output.strip()
    assert folder
    assert not Path(folder).exists()


def test_the_level_is_said() -> None:
    """A person reads which protection was reached."""
    assert str(Level((), None, "python3")) == "resource limits alone: network and processes are open"
    assert "private net, pid" in str(Level(("--user", "--net", "--pid"), 65534, "python3"))


def test_generated_code_is_refused_where_it_would_be_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without namespaces there is no reward that runs code."""
    monkeypatch.setattr(sandbox, "level", lambda: Level((), None, "python3"))
    with pytest.raises(ResourceError, match="network and processes are open"):
        require_isolation()


def _gone(mark: str) -> bool:
    for _ in range(50):
        if not any(mark in (process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])):
            return True
        time.sleep(0.1)
    return False
