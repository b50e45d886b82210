"""What a worker is told, what a body says about its work, and how a worker ends: the documents of a job."""

from __future__ import annotations

import json
from enum import IntEnum
from pathlib import Path
from typing import Any, Self

from pydantic import Field

from contracts.config import Config
from contracts.errors import ConfigError, GateError, ResourceError, SmolflowError


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


class Stopped(BaseException):
    """SIGTERM or SIGINT arrived. Not an Exception, so that no `except Exception` of a library swallows it."""


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
