"""Follow a playbook run from the terminal: a live line per stage, a bar on long ones; plain lines where there is no terminal."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol, Self
from uuid import UUID

import httpx
from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    ArtifactFilterType,
    FlowRunFilter,
    FlowRunFilterParentFlowRunId,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from contracts.errors import ResourceError

POLL_SECONDS = 1.0
SILENT_SECONDS = 300.0
"""A server that has not answered for so long is not waited for."""


@dataclass
class Line:
    """What is known of one stage while it runs."""

    name: str
    state: str = "waiting"
    percent: float = 0.0
    note: str = ""
    seconds: float = 0.0
    seen: Any = field(default=None, repr=False)


class Screen(Protocol):
    """Where lines go."""

    def __enter__(self) -> Self: ...
    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None: ...
    def draw(self, lines: list[Line]) -> None:
        """Show the lines as they are now."""


class PlainScreen:
    """One line when a stage changes state, and one each time a long stage passes another tenth."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        sys.stdout.flush()

    def draw(self, lines: list[Line]) -> None:
        """Print what is new."""
        for line in lines:
            now = (line.state, int(line.percent // 10) if line.state == "running" else 0)
            if now != line.seen:
                line.seen = now
                share = f" {line.percent:3.0f} %" if line.state == "running" and line.percent else ""
                print(f"{line.name:<16} {line.state:<10} {line.seconds:6.1f} s{share}  {line.note}".rstrip(), flush=True)


class LiveScreen:
    """Bars that redraw in place."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, Progress, TaskID, TextColumn

        self._bars = Progress(
            TextColumn("{task.fields[mark]} {task.description:<16}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[seconds]:6.1f} s  {task.fields[note]}"),
        )
        self._ids: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._bars.stop()

    def draw(self, lines: list[Line]) -> None:
        """Redraw every bar."""
        marks = {"waiting": "·", "running": "▸", "paused": "?", "done": "✓", "reused": "↺"}
        for line in lines:
            if line.state == "paused" != line.seen:
                self._bars.console.print(f"{line.name} {line.note}", soft_wrap=True)  # whole: it names where to go
            line.seen = line.state
            if line.name not in self._ids:
                self._ids[line.name] = self._bars.add_task(line.name, total=100, mark="·", seconds=0.0, note="")
            done = 100.0 if line.state in ("done", "reused") else line.percent
            mark = marks.get(line.state, "✗")
            self._bars.update(self._ids[line.name], completed=done, mark=mark, seconds=line.seconds, note=line.note[:70])


def follow(run_id: UUID, lines: list[Line]) -> State:
    """Follow flow run `run_id` until it ends, updating `lines` (one per stage, in order). Ctrl-C cancels the run and waits for its end.

    Returns:
        The final state of the run.

    Raises:
        ResourceError: the Prefect server stays away.
    """
    screen: Screen = LiveScreen() if sys.stdout.isatty() else PlainScreen()
    # An absent server is told at once and asked again here, not in silence by the client.
    with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}), get_client(sync_client=True) as client, screen:
        try:
            return _until_final(client, run_id, lines, screen)
        except KeyboardInterrupt:
            print("cancelling: the processes save a checkpoint and end (Ctrl-C again leaves them alone)", flush=True)
            client.set_flow_run_state(run_id, State(type=StateType.CANCELLING))
            return _until_final(client, run_id, lines, screen)


def _until_final(client: SyncPrefectClient, run_id: UUID, lines: list[Line], screen: Screen) -> State:
    by_name = {line.name: line for line in lines}
    started, silent_since = time.monotonic(), 0.0
    while True:
        now = time.monotonic()
        try:
            state = _look(client, run_id, by_name)
        except httpx.HTTPError as error:
            if isinstance(error, httpx.HTTPStatusError) and error.response.status_code < 500:
                raise
            if not silent_since:
                print("the Prefect server does not answer; the run goes on without it, and is followed again when it is back", flush=True)
            silent_since = silent_since or now
            if now - silent_since > SILENT_SECONDS:
                do = "`smolflow up` starts it again; then the same command finds what is done"
                raise ResourceError(f"the Prefect server has not answered for {SILENT_SECONDS:.0f} s", do=do) from error
        else:
            silent_since = 0.0
            screen.draw(lines)
            if state is not None and state.is_final():
                return state
            if state is not None and state.is_scheduled() and now - started > 60:
                print("no worker has taken the run for a minute: see `smolflow status`", flush=True)
                started = float("inf")
        time.sleep(POLL_SECONDS)


def _look(client: SyncPrefectClient, run_id: UUID, by_name: dict[str, Line]) -> State | None:
    """Bring the lines up to date; returns the run's state."""
    run = client.read_flow_run(run_id)
    inside = FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[run_id]))
    for child in [run, *client.read_flow_runs(flow_run_filter=inside)]:
        line = by_name.get(child.name.rpartition(" · ")[2])
        if line is not None:
            _update(client, line, child)
    return run.state


def _update(client: SyncPrefectClient, line: Line, run: FlowRun) -> None:
    if run.state is None or line.state == "done":
        return
    if run.state.is_completed():
        line.state, line.note = "done", ""
    elif run.state.is_paused():
        line.state, line.note = "paused", run.state.message or "waits for a person"
    elif run.state.is_running():
        line.state = "running"
        _read_progress(client, line, run)
    elif run.state.is_final():
        line.state, line.note = (run.state.name or "ended").lower(), (run.state.message or "").partition("\n")[0]
    if run.start_time is not None:
        line.seconds = run.total_run_time.total_seconds() or run.estimated_run_time.total_seconds()


def _read_progress(client: SyncPrefectClient, line: Line, run: FlowRun) -> None:
    wanted = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run.id]), type=ArtifactFilterType(any_=["progress"]))
    for artifact in client.read_artifacts(artifact_filter=wanted):
        if isinstance(artifact.data, int | float):
            line.percent, line.note = float(artifact.data), artifact.description or ""
