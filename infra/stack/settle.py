"""Settling flow runs before the worker stops: a stopped worker ends its processes and leaves their runs "Running" for ever."""

from __future__ import annotations

import time

import httpx
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.exceptions import PrefectException

from infra.site import Site
from infra.stack.servers import Say

ACTIVE = (StateType.RUNNING, StateType.PENDING, StateType.CANCELLING)
SETTLE_SECONDS = 75.0
"""A cancelled training saves a checkpoint (the launcher gives it 20 s); Prefect kills its process 30 s after the request."""
CLOSED = "its process was ended when the local stack was stopped; Retry goes on from the newest checkpoint"


def cancel_active(site: Site, say: Say, seconds: float = SETTLE_SECONDS) -> None:
    """Cancel every active run that a worker holds, and wait up to `seconds` until all of them have ended."""
    with SyncPrefectClient(site.prefect_api) as client:
        held = [run for run in active_runs(client) if run.deployment_id is not None]
        for run in held:
            cancel(client, run)
        if held:
            say(f"cancelling {len(held)} active run(s), each saves what it has: {', '.join(run.name for run in held)}")
        deadline = time.monotonic() + seconds
        while held and time.monotonic() < deadline:
            time.sleep(1.0)
            held = [run for run in active_runs(client) if run.deployment_id is not None]
        if held:
            say(f"{len(held)} run(s) did not end in {seconds:.0f} s; their processes are ended with the worker")


def cancel(client: SyncPrefectClient, run: FlowRun) -> None:
    """Ask for the end of one run: its worker ends the process, which saves a checkpoint first."""
    if run.state is not None and run.state.type is not StateType.CANCELLING:
        client.set_flow_run_state(run.id, State(type=StateType.CANCELLING, message="cancelled by smolflow"))


def close_orphans(site: Site, say: Say) -> int:
    """Give every run that is still active, now that no worker runs, its final state; returns how many there were."""
    with SyncPrefectClient(site.prefect_api) as client:
        left = active_runs(client)
        for run in left:
            asked = run.state is not None and run.state.type is StateType.CANCELLING
            final = StateType.CANCELLED if asked else StateType.CRASHED
            state = State(type=final, message=CLOSED)
            client.set_flow_run_state(run.id, state, force=True)
            say(f"{run.name} is now {final.value.lower()}")
        return len(left)


def active_runs(client: SyncPrefectClient) -> list[FlowRun]:
    """Every run that is pending, running or being cancelled."""
    active = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=list(ACTIVE))))
    return client.read_flow_runs(flow_run_filter=active, limit=200)


UNREACHABLE = (httpx.HTTPError, PrefectException, OSError, RuntimeError)
"""What a Prefect client raises when its server is away."""
