"""Looking at and cancelling flow runs, by name or id."""

from __future__ import annotations

import time
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterName,
    FlowRunFilterParentFlowRunId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    LogFilter,
    LogFilterFlowRunId,
)
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import FlowRunSort, LogSort
from prefect.exceptions import ObjectNotFound

from contracts.errors import ConfigError
from infra.site import Site
from infra.stack.settle import ACTIVE, SETTLE_SECONDS, cancel

PAGE = 200
POLL_SECONDS = 1.0


def print_log(site: Site, name: str | None, lines: int) -> None:
    """Print the last `lines` log lines of a run and of the stages inside it.

    Raises:
        ConfigError: no such run.
    """
    with SyncPrefectClient(site.prefect_api) as client:
        run = _find(client, name, active=False)
        inside = FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[run.id]))
        names = {one.id: one.name for one in [run, *client.read_flow_runs(flow_run_filter=inside)]}
        wanted = LogFilter(flow_run_id=LogFilterFlowRunId(any_=list(names)))
        found = []
        for offset in range(0, lines, PAGE):
            page = client.read_logs(wanted, limit=min(PAGE, lines - offset), offset=offset, sort=LogSort.TIMESTAMP_DESC)
            found += page
            if len(page) < PAGE:
                break
    state = f"{run.state.name} · {run.state.message or ''}".rstrip(" ·") if run.state else "unknown"
    print(f"{run.name}: {state}\n{site.prefect.url}/runs/flow-run/{run.id}\n")
    for line in reversed(found):
        stage = names.get(line.flow_run_id, "").rpartition(" · ")[2] if line.flow_run_id else ""
        print(f"{line.timestamp.astimezone():%H:%M:%S}  {stage:<14}  {line.message}")


def cancel_run(site: Site, name: str | None) -> None:
    """Cancel an active run and wait for its end.

    Raises:
        ConfigError: no such run, it is not active, or it is part of another one.
    """
    with SyncPrefectClient(site.prefect_api) as client:
        run = _find(client, name, active=True)
        if run.deployment_id is None:
            raise ConfigError(
                f"'{run.name}' is not held by a worker: it is a stage inside a playbook run, or was started with --here",
                do="cancel the playbook run, or press Ctrl-C where it was started",
            )
        cancel(client, run)
        print(f"cancelling {run.name}: its processes save a checkpoint and end", flush=True)
        deadline = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < deadline and (run.state is None or not run.state.is_final()):
            time.sleep(POLL_SECONDS)
            run = client.read_flow_run(run.id)
        print(f"{run.name}: {run.state.name if run.state else 'unknown'}")


def _find(client: SyncPrefectClient, name: str | None, active: bool) -> FlowRun:
    """The newest run of that name or with that id; without a name the newest that a worker holds or held."""
    if name is not None and _is_id(name):
        try:
            return client.read_flow_run(UUID(name))
        except ObjectNotFound:
            raise ConfigError(f"no run has the id {name}", do="see the runs in the Prefect UI") from None
    wanted = FlowRunFilter(
        name=FlowRunFilterName(any_=[name]) if name is not None else None,
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=list(ACTIVE))) if active else None,
    )
    runs = client.read_flow_runs(flow_run_filter=wanted, sort=FlowRunSort.START_TIME_DESC, limit=PAGE)
    runs = [run for run in runs if run.start_time is not None or active]
    held = [run for run in runs if run.deployment_id is not None]
    if not runs:
        kind = "active run" if active else "run"
        raise ConfigError(f"no {kind}{f' is called {name!r}' if name else ''}", do="see the runs in the Prefect UI")
    return (held or runs)[0]


def _is_id(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
