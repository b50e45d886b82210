"""A stage on another pool: its deployment is run there, and found again instead of started twice."""

from __future__ import annotations

import time
from typing import Any, cast

import httpx
from prefect import get_client, get_run_logger, runtime
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterTags
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.deployments import run_deployment

from contracts.errors import StageError
from flows.desk import Desk
from flows.plan import Node

POLL_SECONDS, UNTAKEN_SECONDS = 2.0, 60.0
UNFINISHED = (StateType.FAILED, StateType.CRASHED, StateType.CANCELLED)


def run_elsewhere(node: Node, desk: Desk, pool: str, low_priority: bool = False) -> None:
    """Run `node` on `pool` and wait for it.

    A run still active is re-attached; one that failed, crashed or was cancelled is put back in the queue under the same id, so its
    history stays in one place; else a new one is started. `run_deployment` returns a failed run without raising, so its state is read.

    Args:
        low_priority: queue it behind others on a GPU pool.

    Raises:
        StageError: the run did not complete.
    """
    log = get_run_logger()
    root = runtime.flow_run.root_flow_run_id or runtime.flow_run.id
    tag = f"stage:{node.fingerprint[:20]}:{root}"
    with get_client(sync_client=True) as client:
        run = _found_again(client, tag)
        if run is None:
            shared = {"recipe": desk.reference, "overrides": list(desk.overrides), "pool": pool}
            inputs = {one.name: one.fingerprint for one in [*node.inputs.values(), *node.courts]}
            started = run_deployment(
                f"{node.kind.name}/{pool}",
                parameters={**shared, "inputs": inputs, "stage": node.name},
                timeout=0,
                tags=[tag],
                flow_run_name=f"{desk.plan.recipe.name} · {node.name}",
                work_queue_name="low" if low_priority and desk.site.pools[pool].kind == "gpu" else None,
            )
            run = client.read_flow_run(cast(FlowRun, started).id)  # a coroutine only where an event loop calls it
        log.info("%s runs on pool %s as '%s'", node.name, pool, run.name)
        state = _final_state(client, run, pool)
    if not state.is_completed():
        raise StageError(
            f"'{run.name}' on pool {pool} ended {state.name}: {(state.message or '')[:800]}",
            where=node.name,
            do="open that run in the Prefect UI; Retry of this playbook puts it back in the queue",
        )


def _final_state(client: SyncPrefectClient, run: FlowRun, pool: str) -> State[Any]:
    """Wait until `run` has ended. A server that does not answer for a while is no reason to give up; a pool without a worker is said."""
    log, began, said = get_run_logger(), time.monotonic(), False
    while run.state is None or not run.state.is_final():
        time.sleep(POLL_SECONDS)
        try:
            run = client.read_flow_run(run.id)
        except httpx.TransportError as error:
            log.warning("the Prefect server does not answer (%s); waiting", error)
            continue
        if not said and run.state is not None and run.state.is_scheduled() and time.monotonic() - began > UNTAKEN_SECONDS:
            log.warning("no worker of pool %s has taken '%s' for a minute: is one running?", pool, run.name)
            said = True
    return run.state


def _found_again(client: SyncPrefectClient, tag: str) -> FlowRun | None:
    tagged = FlowRunFilter(tags=FlowRunFilterTags(all_=[tag]))
    runs = client.read_flow_runs(flow_run_filter=tagged, sort=FlowRunSort.START_TIME_DESC, limit=1)
    if not runs:
        return None
    run = runs[0]
    if run.state is not None and run.state.type in UNFINISHED:
        again = State(type=StateType.SCHEDULED, name="AwaitingRetry", message="the playbook was retried")
        client.set_flow_run_state(run.id, again, force=True)
        run = client.read_flow_run(run.id)
    return run
