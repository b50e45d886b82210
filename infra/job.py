"""The contract of a worker process: what it is told (a JSON spec), what it leaves (parts, progress, result.json), and its exit codes.

`python -m tasks.<craft>.worker SPEC` reads a `JobSpec`; most workers hand it to `run_body` with their craft's body. The environment gives
SMOLFLOW_JOB_DIR, the job's own local folder, and SMOLFLOW_SCRATCH, this node's place for copies of artifacts.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from types import FrameType
from typing import Any, Self

from pydantic import Field

from contracts.config import Config
from contracts.errors import ConfigError, GateError, IntegrityError, ResourceError, SmolflowError
from infra.provenance import code_version, machine, versions
from infra.store import Part, Store, Workspace

__all__ = [
    "Exit", "InputRef", "Job", "JobResult", "JobSpec", "Progress", "ProgressFile", "Stopped", "Summary",
    "code_version", "machine", "run_body", "stop_on_signal", "versions",
]  # fmt: skip

RESULT = "result"
"""Name of the part that `run_body` seals."""
PROGRESS_SECONDS = 0.2

Progress = Callable[[float, float, str], None]
"""Called with (done, total, note)."""


class Exit(IntEnum):
    """How a worker ends."""

    DONE = 0
    FAILED = 1
    RESUME = 75
    """Stopped before the end with its work saved: start it again."""
    DECIDE = 76
    """A person must decide or do something first; starting it again would end the same way."""


class Summary(Config):
    """What a body says about what it made; goes into the manifest."""

    counts: dict[str, int] = Field(default_factory=dict)
    """Documents, bytes, tokens..."""
    metrics: dict[str, float] = Field(default_factory=dict)
    """Figures that also go to MLflow; finite."""
    evidence: dict[str, Any] = Field(default_factory=dict)
    """JSON for gates and report: tables, samples."""
    layouts: list[dict[str, Any]] = Field(default_factory=list)
    """Parallel layouts used (training only)."""
    interventions: list[str] = Field(default_factory=list)
    """What was done by hand or by rule while it ran (training only)."""


class InputRef(Config):
    """An input artifact, named so that it can be found in the store."""

    stage: str
    """Stage that made it."""
    fingerprint: str
    """Its identity."""


class JobSpec(Config):
    """All that a worker is told. Holds no local path but perhaps the store's, so that it can be started anywhere, by hand too."""

    stage: str
    """Stage it works for, for example train-stable."""
    craft: str
    """Package of tasks that holds the worker, for example training."""
    fingerprint: str
    """Identity of the result."""
    workspace_key: str
    """Workspace in which it leaves its parts."""
    lease: int | None = None
    """Lease under which it works; None: it takes one itself."""
    store: str
    """URL of the store."""
    config: dict[str, Any]
    """The craft's section of the recipe."""
    inputs: dict[str, InputRef] = Field(default_factory=dict)
    """Input artifacts, by role."""
    processes: int = Field(default=1, ge=1)
    """Ranks on this node."""
    code_version: str = ""
    """Version of the code that wrote this spec."""

    @classmethod
    def read(cls, path: Path | str) -> Self:
        """The spec in a JSON file.

        Raises:
            ConfigError: not there, not JSON, or not a spec.
        """
        try:
            return cls.parse(json.loads(Path(path).read_text()), str(path))
        except (OSError, ValueError) as error:
            raise ConfigError(f"no job spec can be read: {error}", do="give the path of a spec.json", where=str(path)) from None


class JobResult(Config):
    """What a worker says at its end, in result.json."""

    exit: Exit
    """Its exit code."""
    reason: str = ""
    """Why, for people."""
    code: str = ""
    """Stable code of the error, where there was one."""
    part: str = ""
    """The part that holds the result."""
    summary: dict[str, Any] = Field(default_factory=dict)
    """Its `Summary`."""

    @classmethod
    def of_error(cls, error: BaseException) -> Self:
        """How `error` ends a worker: which exit code, and what it says."""
        if isinstance(error, Stopped):
            return cls(exit=Exit.RESUME, reason=str(error), code="stopped")
        if isinstance(error, SmolflowError):
            decide = isinstance(error, GateError | ResourceError | ConfigError)
            return cls(exit=Exit.DECIDE if decide else Exit.FAILED, reason=str(error), code=error.code)
        return cls(exit=Exit.FAILED, reason=f"{type(error).__name__}: {error}", code="unexpected")


class Stopped(BaseException):
    """SIGTERM arrived. Not an Exception, so that no `except Exception` of a library swallows it."""


@dataclass(frozen=True)
class Job:
    """The local folder of one job; pinned, so that the next attempt finds it again."""

    folder: Path
    scratch: Path
    """This node's place for copies of artifacts; shared by jobs."""

    @classmethod
    def from_environment(cls) -> Self:
        """The folder SMOLFLOW_JOB_DIR (else the working folder), and SMOLFLOW_SCRATCH (else a folder in it)."""
        folder = Path(os.environ.get("SMOLFLOW_JOB_DIR") or Path.cwd()).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        return cls(folder, Path(os.environ.get("SMOLFLOW_SCRATCH") or folder / "scratch").resolve())

    @property
    def result_file(self) -> Path:
        """Where the worker's last word goes."""
        return self.folder / "result.json"

    @property
    def progress_file(self) -> Path:
        """Where its progress goes."""
        return self.folder / "progress.jsonl"

    def materialise(self, store: Store, inputs: Mapping[str, InputRef]) -> dict[str, Path]:
        """Local, verified, read-only folders of the inputs, by role.

        Raises:
            ArtifactMissing: an input is not in the store; names the stage to run first.
            IntegrityError: one was altered.
        """
        found = {role: store.require(one.stage, one.fingerprint) for role, one in inputs.items()}
        return {role: store.materialise(artifact, self.scratch / "artifacts") for role, artifact in found.items()}

    def write_result(self, result: JobResult) -> None:
        """Write result.json, whole or not at all."""
        half = self.result_file.with_suffix(".partial")
        half.write_text(json.dumps(result.model_dump(mode="json"), indent=1))
        half.replace(self.result_file)

    def read_result(self) -> JobResult | None:
        """The result of the last attempt; None where it wrote none (it was killed)."""
        try:
            return JobResult.parse(json.loads(self.result_file.read_text()), str(self.result_file))
        except (OSError, ValueError):
            return None


class ProgressFile:
    """Appends progress to a file of JSON lines, a few a second at most; the last line is always written."""

    def __init__(self, path: Path) -> None:
        self._path, self._next = path, 0.0

    def __call__(self, done: float, total: float, note: str = "") -> None:
        """Note that `done` of `total` is behind."""
        now = time.monotonic()
        if now < self._next and done < total:
            return
        self._next = now + PROGRESS_SECONDS
        with self._path.open("a") as file:
            file.write(json.dumps({"done": done, "total": total, "note": note}) + "\n")


@contextlib.contextmanager
def stop_on_signal() -> Iterator[None]:
    """Within, SIGTERM raises `Stopped` in the main thread."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Stopped("stopped by a signal; start it again to go on")

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def run_body(spec: JobSpec, body: Callable[[dict[str, Any], Mapping[str, Path], Path, Progress], Summary]) -> int:
    """Run a body as a worker process and return its exit code.

    Joins the workspace, brings the inputs here, calls `body(config, inputs, out, progress)`, seals what it left in `out` as the part
    "result" with the Summary as its meta, and writes result.json in any case. A result that an earlier attempt sealed is taken as it is.
    """
    job = Job.from_environment()
    job.result_file.unlink(missing_ok=True)
    try:
        with stop_on_signal():
            part = _result_part(spec, job, body)
        result = JobResult(exit=Exit.DONE, part=part.name, summary=part.meta)
    except (Exception, Stopped) as error:
        result = JobResult.of_error(error)
        if not isinstance(error, SmolflowError | Stopped):
            traceback.print_exc()
        print(result.reason, file=sys.stderr, flush=True)
    job.write_result(result)
    return int(result.exit)


def _result_part(spec: JobSpec, job: Job, body: Callable[[dict[str, Any], Mapping[str, Path], Path, Progress], Summary]) -> Part:
    store = Store.open(spec.store)
    with store.attach(spec.stage, spec.workspace_key, spec.lease) as workspace:
        sealed = _sealed_before(workspace)
        if sealed is not None:
            return sealed
        inputs = job.materialise(store, spec.inputs)
        out = job.folder / "out"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        summary = body(spec.config, inputs, out, ProgressFile(job.progress_file))
        part = workspace.put(RESULT, out, summary.model_dump(mode="json"))
        shutil.rmtree(out, ignore_errors=True)
        return part


def _sealed_before(workspace: Workspace) -> Part | None:
    sealed = next((part for part in workspace.parts() if part.name == RESULT), None)
    if sealed is None:
        return None
    try:
        workspace.verify(sealed)
    except IntegrityError as error:
        print(f"made again: {error}", file=sys.stderr, flush=True)
        workspace.drop(sealed)
        return None
    return sealed
