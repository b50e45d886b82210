"""Registration: work pools, the playbook and every stage as deployments, automations; all of it may be repeated at any time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate, WorkPoolCreate, WorkPoolUpdate
from prefect.exceptions import ObjectAlreadyExists
from prefect.flows import Flow
from prefect.utilities.callables import parameter_schema
from prefect.workers.process import ProcessWorker

from deployments.automations import create_automations
from infra.site import PLAYBOOK, Pool, Site

QUEUES = {"high": 1, "low": 10}
"""Queues of a GPU pool, by priority: a waiting run of `high` starts before any of `low`."""
COMMAND = """sh -c 'cd "$SMOLFLOW_FOLDER" && exec "$SMOLFLOW_INTERPRETER" -m prefect.engine'"""
"""How a worker starts a flow run; its environment says where and with which Python, so that no deployment holds a path of one machine."""


@dataclass(frozen=True)
class Deployable:
    """A flow and how it is offered."""

    flow: Flow[..., Any]
    entrypoint: str
    """Importable name of the flow, for example flows.playbook.playbook; a worker's PYTHONPATH finds it."""
    pool: str
    """Work pool it runs on; also the deployment's name."""
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    schedules: Sequence[DeploymentScheduleCreate] = ()
    tags: Sequence[str] = ()


def register(site: Site, items: Sequence[Deployable] | None = None) -> list[str]:
    """Create or update the site's pools, deployments and automations on its Prefect server, in one session.

    Args:
        items: what to deploy; default: the playbook and every stage.

    Returns:
        Names of the deployments, `flow/pool`.
    """
    wanted = offered(site) if items is None else items
    with SyncPrefectClient(site.prefect_api) as client:
        for name, pool in site.pools.items():
            _pool(client, name, pool)
        for item in wanted:
            _deploy(client, item)
        create_automations(client)
    return [f"{item.flow.name}/{item.pool}" for item in wanted]


def offered(site: Site) -> list[Deployable]:
    """The playbook on its pool, and each stage on its own pool and on the playbook's."""
    from flows.playbook import playbook
    from flows.stages import STAGES

    home = site.pool_of(PLAYBOOK)
    found = [_offer(playbook, "flows.playbook.playbook", home)]
    for name, stage in STAGES.items():
        found += [_offer(stage, f"flows.stages.{name}", pool) for pool in dict.fromkeys([home, site.pool_of(name)])]
    return found


def _offer(flow: Flow[..., Any], entrypoint: str, pool: str) -> Deployable:
    tags = ("playbook",) if flow.name == PLAYBOOK else ("stage",)
    return Deployable(flow, entrypoint, pool, flow.description or "", {"pool": pool}, tags=tags)


def _deploy(client: SyncPrefectClient, item: Deployable) -> None:
    # No concurrency_limit here: its lease is strict, and a server restart would crash a training run that holds one. Pool limits do it.
    client.create_deployment(
        flow_id=client.create_flow_from_name(item.flow.name),
        name=item.pool,
        entrypoint=item.entrypoint,
        description=item.description,
        parameters=dict(item.parameters),
        parameter_openapi_schema=parameter_schema(item.flow).model_dump_for_openapi(),
        enforce_parameter_schema=True,
        work_pool_name=item.pool,
        schedules=list(item.schedules),
        tags=list(item.tags),
    )


def _pool(client: SyncPrefectClient, name: str, pool: Pool) -> None:
    settings: dict[str, Any] = {"description": pool.description, "base_job_template": process_template(), "concurrency_limit": pool.limit}
    try:
        client.create_work_pool(WorkPoolCreate(name=name, type="process", **settings))
    except ObjectAlreadyExists:
        client.update_work_pool(name, WorkPoolUpdate(**settings))
    if pool.kind == "gpu":
        known = {queue.name for queue in client.read_work_queues(work_pool_name=name)}
        for queue, priority in QUEUES.items():
            if queue not in known:
                client.create_work_queue(name=queue, priority=priority, work_pool_name=name)


def process_template() -> dict[str, Any]:
    """How a flow run becomes a process: with the worker's own interpreter and folder, its output not tied to the worker's console."""
    template = ProcessWorker.get_default_base_job_template()
    properties = template["variables"]["properties"]
    # An explicit command starts 4 s sooner than the default, which resolves a workspace first; `exec` keeps the pid that is signalled.
    properties["command"]["default"] = COMMAND
    # With streaming, the console of a killed worker is a broken pipe, and the next log line ends a run that could have gone on.
    properties["stream_output"]["default"] = False
    return dict(template)
