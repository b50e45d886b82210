"""The garbage collector of the Prefect server stays off its event loop's thread, where freeing a cursor can wait for SQLite."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import sys, threading, time, weakref
from infra.stack import prefect_server

class Lost:
    pass

if sys.argv[1] == "beside":
    prefect_server.YOUNG_SECONDS = 0.1
    prefect_server.collect_beside()
freed = []
one = Lost()
one.itself = one  # only the collector can free it
weakref.finalize(one, lambda: freed.append(threading.current_thread().name))
del one
kept = [[] for _ in range(1_000_000)]  # enough for every generation of the collector
while not freed:
    time.sleep(0.05)
print(freed[0])
"""


@pytest.mark.parametrize(("where", "thread"), [("beside", "garbage"), ("as usual", "MainThread")])
def test_where_cycles_are_freed(where: str, thread: str) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, where], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == thread, done.stderr
