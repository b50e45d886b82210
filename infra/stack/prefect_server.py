"""`python -m infra.stack.prefect_server ...` is `python -m prefect ...` with the cyclic garbage collector off the main thread.

Prefect on SQLite can stop answering for a minute at a time (seen with Prefect 3.8.8 and aiosqlite 0.22): a write that is refused ("database
is locked") leaves a cursor in a reference cycle. When the collector then runs on the event loop's thread, freeing that cursor waits for the
mutex of its connection (sqlite3_reset), which a thread holds that waits up to 60 s for the write lock; and who holds the write lock waits
for the event loop. Runs lose their heartbeats meanwhile. Collected on a thread of its own, the cursor alone waits.
"""

from __future__ import annotations

import gc
import runpy
import threading
import time

YOUNG_SECONDS = 2.0
WHOLE_EVERY = 30
"""One collection in so many is of all objects, as the collector itself would do it now and then; the others are of the young ones."""


def collect_beside() -> None:
    """Stop automatic collection in this process, and collect on a daemon thread instead."""
    gc.disable()
    threading.Thread(target=_collect, name="garbage", daemon=True).start()


def _collect() -> None:
    turn = 0
    while True:
        time.sleep(YOUNG_SECONDS)
        turn += 1
        gc.collect(2 if turn % WHOLE_EVERY == 0 else 1)


if __name__ == "__main__":
    collect_beside()
    runpy.run_module("prefect", run_name="__main__", alter_sys=True)
