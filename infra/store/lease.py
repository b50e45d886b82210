"""Leases: who may seal and commit in a workspace. Numbered create-only objects; a newer number fences the older.

The holder renews its lease by a beat beside it. A holder that died on this host is taken over at once, one elsewhere when it has been
silent for TTL_SECONDS (so the clocks of machines that share a store must agree to within that).
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
import uuid
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Self

from contracts.errors import IntegrityError, SmolflowError
from infra.store.errors import LeaseHeld, LeaseLost
from infra.store.host import alive, started, this_host
from infra.store.objects import Objects

BEAT_SECONDS = 10.0
TTL_SECONDS = 60.0
POLL_SECONDS = 0.5
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Holder:
    """Who took a lease."""

    token: str
    host: str
    pid: int
    process_started: str
    since: float
    """Unix time, seconds."""

    @classmethod
    def this_process(cls) -> Self:
        """A new holder: this process, now."""
        return cls(uuid.uuid4().hex, this_host(), os.getpid(), started(os.getpid()), time.time())

    def __str__(self) -> str:
        since = datetime.fromtimestamp(self.since, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        return f"process {self.pid} on {self.host.split('/')[0]}, since {since}"


class Lease:
    """One numbered lease of a workspace; `take` and `join` make it."""

    def __init__(self, objects: Objects, folder: str, number: int, holder: Holder | None) -> None:
        self.number, self._objects, self._folder, self._holder = number, objects, folder, holder
        self._stopped = threading.Event()
        self._beating: threading.Thread | None = None

    @classmethod
    def take(cls, objects: Objects, folder: str, wait: float = 0.0) -> Lease:
        """The next lease of the workspace `folder`, renewed by a thread until `release`.

        Args:
            wait: seconds to wait for a live holder to end.

        Raises:
            LeaseHeld: a live process holds it; says who and since when.
        """
        until = time.monotonic() + wait
        while True:
            last = latest(objects, folder)
            held = _held(objects, folder, last) if last else None
            if held is None:
                holder = Holder.this_process()
                if objects.create(_key(folder, last + 1), json.dumps(asdict(holder)).encode()):
                    lease = cls(objects, folder, last + 1, holder)
                    lease._start()
                    return lease
                continue  # somebody else took this number
            if time.monotonic() >= until:
                do = "wait for it to end, or stop that process; a holder that died is taken over by itself"
                raise LeaseHeld(f"already being worked on by {held}", do=do, where=folder.removeprefix("workspaces/"))
            time.sleep(min(POLL_SECONDS, max(0.0, until - time.monotonic())))

    @classmethod
    def join(cls, objects: Objects, folder: str, number: int) -> Lease:
        """A worker's share in the lease `number` that another process holds and renews.

        Raises:
            LeaseLost: it never was, was released, or a newer one has been taken.
        """
        lease = cls(objects, folder, number, None)
        lease.check()
        if objects.size(_key(folder, number)) is None or _beat(objects, folder, number).get("released"):
            raise LeaseLost(f"lease {number} is not in force", do="start the stage again: it takes a new one", where=folder)
        return lease

    def check(self) -> None:
        """Raise LeaseLost where a newer lease has been taken (numbers have no gaps, so one look is enough)."""
        if self._objects.size(_key(self._folder, self.number + 1)) is not None:
            newer = latest(self._objects, self._folder)
            what = f"lease {self.number} was lost to {_read_holder(self._objects, self._folder, newer)}"
            raise LeaseLost(what, do="let the newer one go on: nothing was sealed from here after it began", where=self._folder)

    def release(self) -> None:
        """Give the lease back, so that the next `take` works at once. A worker's share, or a lost lease, is only let go."""
        if self._holder is None or self._stopped.is_set():
            return
        self._stopped.set()
        if self._beating is not None:
            self._beating.join()
        try:
            self._write_beat(released=True)
        except (SmolflowError, OSError) as error:
            log.warning(
                "lease %s of %s was not marked as released (%s); the end of this process releases it", self.number, self._folder, error
            )

    def _start(self) -> None:
        self._write_beat(released=False)
        self._beating = threading.Thread(target=self._beat_on, daemon=True, name=f"lease-{self.number}")
        self._beating.start()

    def _beat_on(self) -> None:
        while not self._stopped.wait(BEAT_SECONDS):
            try:
                self._write_beat(released=False)
            except Exception as error:  # whatever it is: a thread that ends here would lose the lease of a working process
                log.warning("lease %s of %s could not be renewed: %s", self.number, self._folder, error)

    def _write_beat(self, *, released: bool) -> None:
        self._objects.write(_beat_key(self._folder, self.number), json.dumps({"at": time.time(), "released": released}).encode())


def latest(objects: Objects, folder: str) -> int:
    """Highest lease number of the workspace `folder`; 0 where there is none."""
    stems = [name.removesuffix(".json") for name in objects.children(f"{folder}/lease") if name.endswith(".json")]
    return max((int(stem) for stem in stems if stem.isdigit()), default=0)


def live_holder(objects: Objects, folder: str) -> Holder | None:
    """Who works in the workspace `folder` right now, or None."""
    last = latest(objects, folder)
    return _held(objects, folder, last) if last else None


def _held(objects: Objects, folder: str, number: int) -> Holder | None:
    holder, beat = _read_holder(objects, folder, number), _beat(objects, folder, number)
    if beat.get("released"):
        return None
    if holder.host == this_host():
        return holder if alive(holder.pid, holder.process_started) else None
    seen = max(holder.since, float(beat.get("at", 0.0)))
    return holder if time.time() - seen < TTL_SECONDS else None


def _read_holder(objects: Objects, folder: str, number: int) -> Holder:
    key = _key(folder, number)
    try:
        return Holder(**json.loads(objects.read(key)))
    except (ValueError, TypeError):
        do = "see that no run works there, then remove this file"
        raise IntegrityError("the record of a lease cannot be read", do=do, where=f"{objects.url}/{key}") from None


def _beat(objects: Objects, folder: str, number: int) -> dict[str, Any]:
    try:
        beat = json.loads(objects.read(_beat_key(folder, number)))
    except (FileNotFoundError, ValueError):
        return {}
    return beat if isinstance(beat, dict) else {}


def _key(folder: str, number: int) -> str:
    return f"{folder}/lease/{number}.json"


def _beat_key(folder: str, number: int) -> str:
    return f"{folder}/lease/{number}.beat"
