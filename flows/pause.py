"""A flow run that waits for a person: Prefect's pause with a form, which outlives a restart of the server.

`prefect.pause_flow_run` makes the same state and the same form. But it ends with the first request that its client gives up on, goes on
waiting for a run that somebody has cancelled, and a retried run fails on the answer that its earlier attempt got (Prefect 3.8.8).
"""

from __future__ import annotations

import time
from typing import TypeVar, cast
from uuid import UUID, uuid4

import httpx
from prefect import get_client, get_run_logger, runtime
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import State
from prefect.client.schemas.responses import SetStateStatus
from prefect.input import RunInput, keyset_from_paused_state
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect.states import Paused

from contracts.errors import StageError

POLL_SECONDS = 2.0
GRACE_SECONDS = 60
"""The server ends a pause so much later than we do, so that the run ends with our words."""
_Form = TypeVar("_Form", bound=RunInput)


def answered(form: type[_Form], seconds: float, message: str) -> _Form:
    """Pause the current flow run until somebody presses Resume in the UI and fills in `form`.

    Args:
        seconds: how long to wait.
        message: of the state Paused.

    Raises:
        StageError: nobody came in time, or the run was ended meanwhile.
    """
    run, log = UUID(str(runtime.flow_run.id)), get_run_logger()
    paused: State = Paused(timeout_seconds=int(seconds) + GRACE_SECONDS, pause_key=uuid4().hex, message=message)
    keys = keyset_from_paused_state(paused)
    paused.state_details.run_input_keyset = {str(role): key for role, key in keys.items()}
    form.save(keys, run)  # before the state: the form is there as soon as the button is
    with get_client(sync_client=True) as client:
        answer = client.set_flow_run_state(run, paused)
    if answer.status is not SetStateStatus.ACCEPT:
        reason = getattr(answer.details, "reason", None) or answer.status.value
        raise StageError(f"the run cannot be paused: {reason}", do="retry it in the UI")
    log.warning("%s", message)
    state = _left(run, time.monotonic() + seconds)
    if state is None:
        raise StageError(f"nobody answered within {seconds / 3600:g} h", do="retry the run: it asks again, nothing else is done again")
    if not state.is_running():
        raise StageError(f"the run was ended while it waited ({state.name})", do="retry it: it asks again")
    return cast(_Form, form.load(keys, run))  # a coroutine only where an event loop calls it


def _left(run: UUID, deadline: float) -> State | None:
    """The first state after the pause; None where the time is up before. A server that does not answer is waited for."""
    log, away = get_run_logger(), False
    with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}), get_client(sync_client=True) as client:
        while time.monotonic() < deadline:
            state = _state(client, run)
            if state is None and not away:
                log.warning("the Prefect server does not answer; the question stands as soon as it is back")
            away = state is None
            if state is not None and not state.is_paused():
                return state
            time.sleep(POLL_SECONDS)
    return None


def _state(client: SyncPrefectClient, run: UUID) -> State | None:
    try:
        return client.read_flow_run(run).state
    except httpx.HTTPStatusError as error:
        if error.response.status_code < 500:
            raise
    except httpx.TransportError:
        pass
    return None
