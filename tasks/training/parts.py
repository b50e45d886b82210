"""Checkpoints as parts of the workspace: chosen for resuming, uploaded in the background, pruned once the store has confirmed them."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch.distributed as dist

from contracts.errors import SmolflowError
from infra.store import Part, Workspace
from tasks.training.ledger import Incident
from tasks.training.spool import SPOOL_FILE

__all__ = ["SPOOL_FILE", "Uploader", "choose", "diverged", "part_name", "record_incident", "recorded_incidents", "step_of"]

PREFIX = "step-"
INCIDENT_PREFIX = "incident-"
KEPT = 2
"""Newest checkpoints kept in the store beside those of committed artifacts."""


def part_name(step: int) -> str:
    """`step-00000120`: names sort like numbers, for runs of millions of steps too."""
    return f"{PREFIX}{step:08d}"


def step_of(part: Part) -> int:
    """The step that a checkpoint part holds."""
    return int(part.name.removeprefix(PREFIX))


def diverged(part: Part) -> bool:
    """Whether the phase ended with this checkpoint because it diverged, whatever its length."""
    return part.meta.get("diverged_at") is not None


def choose(workspace: Workspace, last_step: int) -> tuple[Part | None, list[str]]:
    """The newest checkpoint at or before `last_step` of which every byte is right, and what was skipped on the way, and why."""
    part, skipped = workspace.newest(PREFIX)
    if part is None or step_of(part) <= last_step:
        return part, skipped
    # The phase was shortened: later checkpoints belong to its longer self.
    return workspace.newest(PREFIX, lambda one: "" if step_of(one) > last_step else None)


def retain(workspace: Workspace, last_step: int, kept: int = KEPT) -> None:
    """Of the checkpoints up to `last_step` drop all but the newest `kept`; those of committed artifacts always stay."""
    steps = sorted((p for p in workspace.parts() if p.name.startswith(PREFIX) and step_of(p) <= last_step), key=step_of)
    for part in steps[:-kept]:
        workspace.drop(part)


def record_incident(workspace: Workspace, incident: Incident, folder: Path) -> None:
    """Keep an incident in the workspace although no checkpoint follows it. A failure to do so does not hide the incident itself."""
    name = f"{INCIDENT_PREFIX}{incident.step:08d}-{incident.when.replace(':', '').replace('+', '-')}"
    place = folder / name
    place.mkdir(parents=True, exist_ok=True)
    (place / "incident.json").write_text(json.dumps(incident.model_dump(mode="json"), indent=1))
    try:
        workspace.put(name, place, incident.model_dump(mode="json"))
    except (SmolflowError, OSError) as error:
        print(f"the incident could not be recorded in the store: {error}", flush=True)


def recorded_incidents(workspace: Workspace) -> list[Incident]:
    """Incidents that earlier attempts recorded without a checkpoint."""
    return [Incident.model_validate(part.meta) for part in workspace.parts() if part.name.startswith(INCIDENT_PREFIX)]


class Uploader:
    """Puts finished checkpoint folders into the workspace, one at a time, while training goes on.

    On several nodes every node's first rank uploads its own files and global rank 0 seals, which takes all of them at once and therefore
    does not run in the background.
    """

    def __init__(self, workspace: Workspace | None, nodes: int) -> None:
        """`workspace` is None on ranks that do not talk to the store."""
        self._workspace, self._nodes = workspace, nodes
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def start(self, name: str, folder: Path, meta: dict[str, Any]) -> None:
        """Upload `folder` as the part `name`; it is removed once the store has confirmed it. Call `wait` before the next `start`."""
        if self._nodes > 1:
            self._together(name, folder, meta)
        elif self._workspace is not None:
            self._thread = threading.Thread(target=self._guarded, args=(self._workspace, name, folder, meta), name="upload")
            self._thread.start()

    def wait(self) -> None:
        """Until what was started is confirmed. Raises what went wrong with it."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.check()

    def check(self) -> None:
        """Raise what went wrong with an upload, if anything has by now."""
        if self._error is not None:
            raise self._error

    def _guarded(self, workspace: Workspace, name: str, folder: Path, meta: dict[str, Any]) -> None:
        try:
            _confirmed(workspace, folder, lambda: workspace.put(name, folder, meta))
        except BaseException as error:  # raised again in the main thread
            self._error = error

    def _together(self, name: str, folder: Path, meta: dict[str, Any]) -> None:
        mine = self._workspace.upload(name, folder) if self._workspace is not None else []
        everything: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(everything, mine)
        entries = [entry for entries in everything for entry in entries]
        workspace = self._workspace
        if workspace is not None and dist.get_rank() == 0:
            _confirmed(workspace, folder, lambda: workspace.seal(name, entries, meta))
        dist.barrier()
        shutil.rmtree(folder, ignore_errors=True)


def _confirmed(workspace: Workspace, folder: Path, put: Callable[[], Part]) -> None:
    part = put()
    shutil.rmtree(folder, ignore_errors=True)
    retain(workspace, step_of(part))
