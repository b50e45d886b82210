"""The fence: ends an attempt that the server has given up on, so that no two attempts work on one stage."""

from __future__ import annotations

import time

import httpx
from prefect import get_client, runtime
from prefect.exceptions import PrefectException

from contracts.errors import StageError


class Fence:
    """Asks the server every `every` seconds whether this attempt is still the running one. An unreachable server is no reason to stop."""

    def __init__(self, every: float = 30.0) -> None:
        self._every, self._next = every, time.monotonic() + every
        self._id, self._attempt = runtime.flow_run.id, runtime.flow_run.run_count

    def check(self) -> None:
        """Raise StageError when the run is no longer running, or a newer attempt of it is."""
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
