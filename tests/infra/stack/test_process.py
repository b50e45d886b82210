from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.stack.process import Record, record_of, records, start, stop, tail
from tests.infra.launchers.children import is_gone, python, read_pids, wait_for

SERVER = """
import os, pathlib, subprocess, sys, time
stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('child up', flush=True); time.sleep(600)"
child = subprocess.Popen([sys.executable, "-c", stubborn], start_new_session=True)
pathlib.Path("pids").write_text(f"{os.getpid()} {child.pid}")
time.sleep(600)
"""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    for record in records(tmp_path):
        stop(tmp_path, record, grace=0.1)


def begin(home: Path, code: str = SERVER) -> Record:
    return start(home, "server", "http://127.0.0.1:9399", python(code), os.environ, home)


def test_a_process_is_remembered_with_its_log(home: Path) -> None:
    record = begin(home)
    wait_for(lambda: "child up" in tail(record.log))
    assert record_of(home, "server") == record
    assert record.alive
    assert record.log == home / "stack" / "server.log"
    assert os.getsid(record.pid) == record.pid, "a session of its own: it outlives the terminal"


def test_stopping_ends_what_the_process_started_too(home: Path) -> None:
    record = begin(home)
    pids = read_pids(home / "pids")
    wait_for(lambda: "child up" in tail(record.log))
    assert stop(home, record, grace=0.5), "the child ignores SIGTERM"
    assert all(is_gone(pid) for pid in pids)
    assert records(home) == []


def test_a_recycled_pid_is_not_taken_for_the_process(home: Path) -> None:
    record = begin(home)
    other = record.model_copy(update={"started": record.started - 60})
    assert not other.alive
    stop(home, other)
    assert record.alive, "a process that only has the same pid is left alone"
    stop(home, record, grace=0.1)


def test_a_process_that_died_is_seen_as_dead(home: Path) -> None:
    record = begin(home, "print('no room left')")
    wait_for(lambda: not record.alive)
    assert "no room left" in tail(record.log)
    assert not stop(home, record)


def test_the_log_of_the_start_before_is_kept(home: Path) -> None:
    first = begin(home, "print('first')")
    wait_for(lambda: not first.alive)
    second = begin(home, "print('second')")
    wait_for(lambda: not second.alive)
    assert tail(second.log) == "second"
    assert (home / "stack" / "server.log.1").read_text() == "first\n"


def test_half_a_record_is_passed_over(home: Path) -> None:
    (home / "stack").mkdir()
    (home / "stack" / "server.json").write_text('{"name": "ser')
    assert records(home) == []
