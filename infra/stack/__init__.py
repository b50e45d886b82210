"""The local stack: Prefect server, MLflow server and workers as background processes under <home>, each with URL, pid and log."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from contracts.errors import ResourceError
from infra.site import Site
from infra.stack.environment import client_environment, inherited, worker_environment
from infra.stack.process import records, stop
from infra.stack.servers import Say, is_up, start_servers
from infra.stack.workers import start_workers, worker_program

__all__ = [
    "Row",
    "Say",
    "client_environment",
    "down",
    "inherited",
    "is_up",
    "only_one",
    "start_servers",
    "start_workers",
    "status",
    "worker_environment",
    "worker_program",
]  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One background process of the stack."""

    name: str
    url: str
    pid: int
    alive: bool
    log: str


def status(site: Site) -> list[Row]:
    """What was started under the site's home, in order of start; `alive` is false for one that has died since."""
    return [Row(record.name, record.url, record.pid, record.alive, str(record.log)) for record in records(site.home)]


def down(site: Site, say: Say) -> None:
    """Settle active runs, then stop workers and servers; what is not running is only forgotten."""
    found = records(site.home)
    workers = [record for record in found if record.name.startswith("worker")]
    reachable = is_up(site)
    if reachable and any(worker.alive for worker in workers):
        _settled(site, say, first=True)
    for record in workers:
        stop(site.home, record)
        say(f"{record.name} stopped")
    if reachable:
        _settled(site, say, first=False)
    for record in reversed([record for record in found if record not in workers]):
        forced = stop(site.home, record)
        say(f"{record.name} stopped{' (by SIGKILL)' if forced else ''}")


def _settled(site: Site, say: Say, *, first: bool) -> None:
    from infra.stack.settle import UNREACHABLE, cancel_active, close_orphans

    try:
        if first:
            cancel_active(site, say)
        else:
            close_orphans(site, say)
    except UNREACHABLE as error:
        say(f"active runs could not be settled, the Prefect server does not answer: {error}")


@contextmanager
def only_one(site: Site) -> Iterator[None]:
    """Keep two `up` or `down` from working on one home at the same time.

    Raises:
        ResourceError: another one is at work.
    """
    place = site.home / "stack"
    place.mkdir(parents=True, exist_ok=True)
    with (place / "lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ResourceError(
                f"another command starts or stops the stack under {site.home}", do="wait for it, then run this again"
            ) from None
        yield
