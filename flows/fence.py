"""The fence: ends an attempt that the server has given up on, so that no two attempts work on one stage; or with those beside it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import httpx
from prefect import get_client, runtime
from prefect.exceptions import PrefectException

from contracts.errors import StageError

_ended: ContextVar[threading.Event | None] = ContextVar("_ended", default=None)


@contextmanager
def gathering() -> Iterator[Callable[[], None]]:
    """Fences made within (in threads with a copy of this context, too) fall together: yields what makes them."""
    event = threading.Event()
    token = _ended.set(event)
    try:
        yield event.set
    finally:
        _ended.reset(token)


class Fence:
    """Asks the server every `every` seconds whether this attempt is still the running one. An unreachable server is no reason to stop."""

    def __init__(self, every: float = 30.0) -> None:
        self._every, self._next = every, time.monotonic() + every
        self._id, self._attempt = runtime.flow_run.id, runtime.flow_run.run_count
        self._together = _ended.get()

    def check(self) -> None:
        """Raise StageError when the run is no longer running, a newer attempt of it is, or one beside it has failed."""
        if self._together is not None and self._together.is_set():
            raise StageError("ended with the stages beside it", do="run the playbook again: what is done stays, this one goes on")
        if self._id is None or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + self._every
        try:
            with get_client(sync_client=True) as client:
                run = client.read_flow_run(self._id)
        except (PrefectException, httpx.HTTPError, OSError, RuntimeError):
            return
        if run.state is None or not (run.state.is_running() or run.state.is_cancelling()) or run.run_count != self._attempt:
            name = run.state.name if run.state else "unknown"
            what = f"the server regards this attempt as over ({name}, attempt {run.run_count})"
            raise StageError(what, do="follow the newer attempt in the UI")
