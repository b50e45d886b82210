"""The metric spool: what a trainer says about each step, written to a local file that others ship. Nothing here waits for anybody."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path

SPOOL_FILE = "metrics.jsonl"
_LINE_BYTES = 4096


class Spool:
    """metrics.jsonl: one line `[step, Unix milliseconds, {name: value}]` each time, on disk when `add` returns."""

    def __init__(self, folder: Path, history: bytes = b"") -> None:
        """Begin with `history`, what a checkpoint remembers: lines of steps that will be trained again are gone."""
        self.path = folder / SPOOL_FILE
        half = self.path.with_suffix(".partial")
        half.write_bytes(history)
        half.replace(self.path)
        self._file = self.path.open("ab", buffering=0)

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Append one line. Values that are not finite are left out: they are no points of a curve."""
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        self._file.write(json.dumps([step, time.time_ns() // 1_000_000, finite]).encode() + b"\n")

    def history(self) -> bytes:
        """Everything so far, for a checkpoint."""
        return self.path.read_bytes()

    def recent(self, steps: int) -> list[dict[str, float]]:
        """What was said about the last `steps` steps, in order."""
        with self.path.open("rb") as file:
            file.seek(max(0, self.path.stat().st_size - steps * _LINE_BYTES))
            lines = [json.loads(line) for line in file.read().split(b"\n") if line.startswith(b"[") and line.endswith(b"]")]
        newest = lines[-1][0] if lines else 0
        return [values for step, _, values in lines if step > newest - steps]

    def close(self) -> None:
        """Let go of the file."""
        os.fsync(self._file.fileno())
        self._file.close()
