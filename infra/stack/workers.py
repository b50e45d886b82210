"""Workers of the local stack: one process per pool that the site gives this machine."""

from __future__ import annotations

import socket
import time

from contracts.errors import ResourceError
from infra.site import PLAYBOOK, Site
from infra.stack.environment import inherited, worker_environment
from infra.stack.process import Record, record_of, start, tail
from infra.stack.servers import Say

START_SECONDS = 240.0


def start_workers(site: Site, say: Say) -> list[Record]:
    """Start a worker for each pool that wants one here, and wait until each is online; the pools must exist.

    Raises:
        ResourceError: a worker ended at its start (with the end of its log), or does not come online.
    """
    started = []
    for pool in (name for name, declared in site.pools.items() if declared.worker):
        name = "worker" if pool == site.pool_of(PLAYBOOK) else f"worker-{pool}"
        known = record_of(site.home, name)
        if known is not None and known.alive:
            say(f"{name} already runs on pool {pool} (pid {known.pid})")
            started.append((pool, known, False))
            continue
        environment = inherited() | worker_environment(site)
        url = f"{site.prefect.url}/work-pools/work-pool/{pool}"
        started.append((pool, start(site.home, name, url, worker_program(site, pool), environment, site.home / "stack"), True))
    for pool, record, fresh in started:
        if fresh:
            _await_online(site, pool, record)
            say(f"{record.name} takes runs from pool {pool} (pid {record.pid})")
    return [record for _, record, _ in started]


def worker_program(site: Site, pool: str) -> list[str]:
    """Command of a worker; the environment it needs is `worker_environment`."""
    program = [site.interpreter, "-m", "infra.stack.prefect_worker", "worker", "start", "--pool", pool, "--name", worker_name(pool)]
    return [*program, "--type", "process", "--install-policy", "never", "--no-create-pool-if-not-found"]


def worker_name(pool: str) -> str:
    """Name of this machine's worker on a pool."""
    return f"{socket.gethostname()}-{pool}"


def _await_online(site: Site, pool: str, record: Record) -> None:
    from prefect.client.orchestration import SyncPrefectClient

    deadline = time.monotonic() + START_SECONDS
    with SyncPrefectClient(site.prefect_api) as client:
        while time.monotonic() < deadline:
            for worker in client.read_workers_for_work_pool(pool):
                seen = worker.last_heartbeat_time
                if worker.name == worker_name(pool) and seen is not None and seen.timestamp() > record.started:
                    return
            if not record.alive:
                raise ResourceError(
                    f"{record.name} ended at its start:\n{tail(record.log)}", where=str(record.log), do="read its log; `smolflow doctor`"
                )
            time.sleep(0.5)
    raise ResourceError(
        f"{record.name} is not online after {START_SECONDS:.0f} s:\n{tail(record.log)}", where=str(record.log), do="read its log"
    )
