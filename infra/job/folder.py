"""The local folder of a job: its result, its progress, and copies of its inputs on this node."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from infra.job.spec import InputRef, JobResult
from infra.store import Store

PROGRESS_SECONDS = 0.2

Progress = Callable[[float, float, str], None]
"""Called with (done, total, note)."""


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
