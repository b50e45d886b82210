"""Registration: work pools, the playbook, the backlog and every stage as deployments, automations; all may be repeated at any time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate, WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.flows import Flow
from prefect.utilities.callables import parameter_schema
from prefect.workers.process import ProcessWorker

from contracts.errors import ConfigError
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
    """Of a deployment that is new; from then on they are a person's, who changes them in the UI."""
    choices: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Parameter that is a list -> what the form offers for it."""
    tags: Sequence[str] = ()


def register(site: Site, items: Sequence[Deployable] | None = None) -> list[str]:
    """Create or update the site's pools, deployments and automations on its Prefect server, in one session.

    Args:
        items: what to deploy; default: the playbook, the backlog and every stage.

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
    """The playbook and the backlog on the playbook's pool, and each stage on its own pool and on the playbook's."""
    from flows.playbook import playbook
    from flows.stages import STAGES

    home = site.pool_of(PLAYBOOK)
    found = [_offer(playbook, "flows.playbook.playbook", home), _backlog(site, home)]
    for name, stage in STAGES.items():
        found += [_offer(stage, f"flows.stages.{name}", pool) for pool in dict.fromkeys([home, site.pool_of(name)])]
    return found


def _offer(flow: Flow[..., Any], entrypoint: str, pool: str) -> Deployable:
    tags = ("playbook",) if flow.name == PLAYBOOK else ("stage",)
    return Deployable(flow, entrypoint, pool, flow.description or "", {"pool": pool}, tags=tags)


def _backlog(site: Site, home: str) -> Deployable:
    """The names of the backlog as choices, and a schedule."""
    from flows.backlog import backlog
    from tasks.ablation.backlog import load

    offered = _offer(backlog, "flows.backlog.backlog", home)
    names = [one.name for one in load(site.backlog).modifications]
    schedules = [_schedule(site.backlog_cron)] if site.backlog_cron else []
    return replace(offered, tags=("backlog",), choices={"items": names}, schedules=schedules)


def _schedule(cron: str) -> DeploymentScheduleCreate:
    try:
        return DeploymentScheduleCreate(schedule=CronSchedule(cron=cron, timezone="UTC"), slug="backlog")
    except ValueError:
        raise ConfigError(f"backlog_cron is no cron: '{cron}'", do="write for example '0 3 * * 0', Sundays at three") from None


def _deploy(client: SyncPrefectClient, item: Deployable) -> None:
    # No concurrency_limit here: its lease is strict, and a server restart would crash a training run that holds one. Pool limits do it.
    known = _known(client, item)
    schema = _schema(item)
    # What a person set in the UI stays: the server would otherwise replace a deployment's schedules by those of the request, even by none.
    client.create_deployment(
        flow_id=client.create_flow_from_name(item.flow.name),
        name=item.pool,
        entrypoint=item.entrypoint,
        description=item.description,
        parameters={**_set_by_a_person(item, schema, known), **item.parameters},
        parameter_openapi_schema=schema,
        enforce_parameter_schema=True,
        work_pool_name=item.pool,
        schedules=_schedules(known) if known else list(item.schedules),
        paused=known.paused if known else False,
        tags=list(item.tags),
    )


def _known(client: SyncPrefectClient, item: Deployable) -> DeploymentResponse | None:
    try:
        return client.read_deployment_by_name(f"{item.flow.name}/{item.pool}")
    except ObjectNotFound:
        return None


def _set_by_a_person(item: Deployable, schema: dict[str, Any], known: DeploymentResponse | None) -> dict[str, Any]:
    """Defaults of the form that were changed in the UI, as far as they still exist: the server refuses a deployment with any other."""
    kept = {name: value for name, value in known.parameters.items() if name in schema["properties"]} if known else {}
    return kept | {name: [one for one in kept[name] if one in choices] for name, choices in item.choices.items() if name in kept}


def _schedules(known: DeploymentResponse) -> list[DeploymentScheduleCreate]:
    return [
        DeploymentScheduleCreate(schedule=one.schedule, active=one.active, parameters=one.parameters, slug=one.slug)
        for one in known.schedules
    ]


def _schema(item: Deployable) -> dict[str, Any]:
    """The form: the flow's parameters, with the choices of the site."""
    schema: dict[str, Any] = parameter_schema(item.flow).model_dump_for_openapi()
    for name, choices in item.choices.items():
        schema["properties"][name]["items"] = {"type": "string", "enum": list(choices)}
    return schema


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
