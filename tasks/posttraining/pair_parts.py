"""Batches of work on pairs that are kept in a workspace, so that what was done before a stop is not done again."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from contracts.errors import IntegrityError
from infra.store import Workspace


class Shelf:
    """Batches by kind and number, as JSON, where there is a workspace. A damaged one is made again."""

    def __init__(self, workspace: Workspace | None, batch_size: int) -> None:
        self._workspace, self._size = workspace, batch_size
        self._sealed = {part.name: part for part in workspace.parts()} if workspace else {}

    def take(self, kind: str, number: int) -> Any:
        """What was kept of a batch; None: nothing, or nothing whole."""
        part = self._sealed.get(self._name(kind, number))
        if part is None or self._workspace is None:
            return None
        with tempfile.TemporaryDirectory(prefix="pairs-") as folder:
            try:
                file = self._workspace.fetch(part, Path(folder)) / f"{kind}.json"
            except IntegrityError:
                self._workspace.drop(part)
                return None
            return json.loads(file.read_text(encoding="utf-8"))

    def keep(self, kind: str, number: int, batch: Any, prompts: int) -> None:
        """Put a batch away."""
        if self._workspace is None:
            return
        folder = Path(tempfile.mkdtemp(prefix="pairs-"))
        (folder / f"{kind}.json").write_text(json.dumps(batch, ensure_ascii=False), encoding="utf-8")
        self._workspace.put(self._name(kind, number), folder, {"prompts": prompts})
        shutil.rmtree(folder)

    def _name(self, kind: str, number: int) -> str:
        """The size is part of the name: an attempt with another one cuts other batches."""
        return f"{kind}-{self._size}-{number:06d}"
