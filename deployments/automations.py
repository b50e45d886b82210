"""Automations on a self-hosted server: without them nothing notices a run whose process died with its worker."""

from __future__ import annotations

from datetime import timedelta

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification

from infra.stack.environment import HEARTBEAT_SECONDS

ZOMBIE = "crash-runs-without-heartbeat"


def zombie_automation() -> AutomationCore:
    """A run whose heartbeat stops for three periods is marked Crashed: "Retry" then goes on from its newest checkpoint."""
    return AutomationCore(
        name=ZOMBIE,
        description="A flow run that sent a heartbeat, then nothing for three periods, has lost its process: it is marked Crashed.",
        trigger=EventTrigger(
            after={"prefect.flow-run.heartbeat"},
            expect={"prefect.flow-run.*"},
            match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=3 * HEARTBEAT_SECONDS),
        ),
        actions=[ChangeFlowRunState(state=StateType.CRASHED, message="no heartbeat: the worker or the machine died")],
    )


def create_automations(client: SyncPrefectClient) -> None:
    """Create the automations, or bring them to what they should be."""
    wanted = zombie_automation()
    known = client.read_automations_by_name(wanted.name)
    if known:
        client.update_automation(known[0].id, wanted)
    else:
        client.create_automation(wanted)
