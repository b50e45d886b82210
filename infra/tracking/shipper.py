"""The shipper: brings what a stage has to show to MLflow, and remembers in a file what has arrived."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from pydantic import Field

from contracts.config import Config
from contracts.errors import ConfigError
from infra.tracking.mlflow import Mlflow, Point
from infra.tracking.spool import Position, read

SPOOL = "metrics.jsonl"
BESIDE_SPOOL = "beside.jsonl"
"""Points of the same run from others than its worker, whose own spool is cut and rewritten by a resume."""
STATE = "tracking.json"
KEY = "smolflow.key"
"""Tag that finds a run again from any machine, with an empty scratch folder too."""
_ONE_PARENT = threading.RLock()
_parents: dict[tuple[str, str, str], str] = {}
"""(server, experiment, key) -> run: a sweep asks for the same one for each of its runs."""


_PLACE = {SPOOL: "position", BESIDE_SPOOL: "beside"}
"""Field of the ledger that says how far a spool is shipped."""


class Note(Config):
    """Something to log once, beside the spool."""

    metrics: dict[str, float] = Field({})
    """Final figures."""
    tags: dict[str, str] = Field({})
    """Texts: fingerprint, place of the artifact..."""
    milliseconds: int
    """When it was written down (Unix time): a repeated delivery is the same point."""


class Parent(Config):
    """The run that another one is nested in; made where it is not there yet."""

    name: str
    """Its name."""
    key: str
    """Value of the tag that finds it."""
    within: Parent | None = None
    """The run that it is itself nested in."""

    @classmethod
    def playbook(cls, run: str) -> Self:
        """The playbook run with the flow run id `run`."""
        return cls(name="playbook", key=f"playbook-{run}")


class Ledger(Config):
    """What is to be shipped for one MLflow run, and how far that is; kept as tracking.json in the job's folder."""

    url: str
    """MLflow server."""
    experiment: str
    """Experiment: the recipe's name."""
    name: str
    """Name of the run: the stage."""
    key: str
    """Value of the tag that finds the run again."""
    parent: Parent | None = None
    """Run it is nested in."""
    params: dict[str, str] = Field({})
    """Logged when the run is created."""
    experiment_id: str = ""
    """Known once the server has answered."""
    run_id: str = ""
    """Known once the server has answered."""
    position: Position = Position()
    """How far the worker's spool is shipped."""
    beside: Position = Position()
    """How far the other one is."""
    notes: list[Note] = Field([])
    """Not yet shipped."""
    status: str = "RUNNING"
    """What the run is to be: RUNNING, FINISHED, FAILED or KILLED."""
    status_sent: str = ""
    """What the server knows."""


class Shipper:
    """Ships one job folder's spool and notes. One thread ships; another may write down what is to be shipped meanwhile.

    Args:
        folder: the job's folder.
        ledger: what is wanted; progress of an earlier shipper for the same run in the same folder is taken over.
    """

    def __init__(self, folder: Path, ledger: Ledger) -> None:
        self._folder = folder
        known = load(folder)
        same = known is not None and (known.url, known.experiment, known.key) == (ledger.url, ledger.experiment, ledger.key)
        self.ledger = known.model_copy(update={"status": ledger.status}) if known is not None and same else ledger
        self._lock = threading.Lock()

    @property
    def page(self) -> str:
        """Address of the run's page; empty until the server has answered."""
        known = self.ledger
        return Mlflow(known.url).page(known.experiment_id, known.run_id) if known.run_id else ""

    @property
    def shipped(self) -> bool:
        """Whether everything has arrived, the final status included."""
        behind = any(self._unshipped(spool)[0] for spool in (SPOOL, BESIDE_SPOOL))
        return not behind and not self.ledger.notes and self.ledger.status_sent == self.ledger.status

    def add(self, metrics: Mapping[str, float], tags: Mapping[str, str]) -> None:
        """Write something down to be shipped."""
        note = Note(metrics=dict(metrics), tags=dict(tags), milliseconds=int(time.time() * 1000))
        with self._lock:
            self._keep(notes=[*self.ledger.notes, note])

    def end(self, status: str) -> None:
        """Write the final status down."""
        with self._lock:
            self._keep(status=status)

    def ship(self, timeout: float = 5.0) -> None:
        """Ship all there is.

        Raises:
            TrackingAway: the server does not answer.
        """
        server = Mlflow(self.ledger.url, timeout)
        if not self.ledger.run_id:
            self._open(server)
        run = self.ledger.run_id
        for spool in (SPOOL, BESIDE_SPOOL):
            while (more := self._unshipped(spool))[0]:
                _, points, position = more
                server.log(run, points)
                self._update(**{_PLACE[spool]: position})
        while self.ledger.notes:
            note = self.ledger.notes[0]
            server.log(run, self._figures(note), tags=note.tags)
            with self._lock:
                self._keep(notes=self.ledger.notes[1:])
        status = self.ledger.status
        if self.ledger.status_sent != status:
            server.update_run(run, status)
            self._update(status_sent=status)

    def _open(self, server: Mlflow) -> None:
        experiment = server.experiment(self.ledger.experiment)
        position, beside, status = self.ledger.position, self.ledger.beside, ""
        run = server.find_run(experiment, KEY, self.ledger.key)
        if run is not None:  # by another machine, or before this folder was wiped: points arrive in order, so older steps are there
            position = beside = Position(steps=server.newest_steps(run))
        else:
            tags = {KEY: self.ledger.key}
            if self.ledger.parent:
                tags["mlflow.parentRunId"] = _parent(server, experiment, self.ledger.parent)
            run = server.create_run(experiment, self.ledger.name, tags)
            server.log(run, params=self.ledger.params)
            status = "RUNNING"  # as every new run is
        self._update(experiment_id=experiment, run_id=run, position=position, beside=beside, status_sent=status)

    def _unshipped(self, spool: str) -> tuple[bool, list[Point], Position]:
        """Whether there is more in `spool` than was shipped, its next points, and the position behind them."""
        known: Position = getattr(self.ledger, _PLACE[spool])
        points, position = read(self._folder / spool, known)
        return position.offset != known.offset or bool(points), points, position

    def _figures(self, note: Note) -> list[Point]:
        """A final figure named like a curve gets a name of its own: at step 0 of the curve it would bend it."""
        curves = self.ledger.position.steps
        return [(f"final/{name}" if name in curves else name, value, note.milliseconds, 0) for name, value in note.metrics.items()]

    def _update(self, **changes: object) -> None:
        with self._lock:
            self._keep(**changes)

    def _keep(self, **changes: object) -> None:
        self.ledger = self.ledger.model_copy(update=changes)
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / STATE
        path.with_suffix(".tmp").write_text(self.ledger.model_dump_json(), encoding="utf-8")
        path.with_suffix(".tmp").replace(path)


def _parent(server: Mlflow, experiment: str, parent: Parent) -> str:
    with _ONE_PARENT:  # runs of one sweep begin side by side, and none may make a parent of its own
        which = (server.url, experiment, parent.key)
        if which not in _parents:
            _parents[which] = server.find_run(experiment, KEY, parent.key) or _made(server, experiment, parent)
        return _parents[which]


def _made(server: Mlflow, experiment: str, parent: Parent) -> str:
    above = {"mlflow.parentRunId": _parent(server, experiment, parent.within)} if parent.within else {}
    return server.create_run(experiment, parent.name, {KEY: parent.key, **above})


def load(folder: Path) -> Ledger | None:
    """The ledger kept in `folder`, if there is a readable one."""
    try:
        return Ledger.from_yaml((folder / STATE).read_text(encoding="utf-8"), where=str(folder / STATE))
    except (FileNotFoundError, ConfigError):
        return None
