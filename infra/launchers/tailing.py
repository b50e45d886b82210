"""Reading what a child process appends to a file. A file, not a pipe: a pipe breaks, or fills up, when its reader dies."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

LINES_PER_SECOND = 20.0
BURST = 100.0


class Tail:
    """New whole lines of a growing file, from where it ended when this object was made."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = path.stat().st_size if path.exists() else 0
        self._rest = b""

    def lines(self, last: bool = False) -> list[str]:
        """Lines completed since the last call; with `last` also an unfinished one. A redrawn line counts once, as it ended."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as handle:
            handle.seek(self._offset)
            text = handle.read()
        self._offset += len(text)
        *whole, self._rest = (self._rest + text).split(b"\n")
        if last and self._rest:
            whole, self._rest = [*whole, self._rest], b""
        return [line.decode("utf-8", "replace").rstrip("\r").rpartition("\r")[2] for line in whole]


class Throttle:
    """Passes lines on at a bounded rate: a log server is not the place for a flood, the file holds it all."""

    def __init__(self, sink: Callable[[str], object], rate: float = LINES_PER_SECOND, burst: float = BURST) -> None:
        self._sink, self._rate, self._burst = sink, rate, burst
        self._tokens, self._last = burst, time.monotonic()
        self.dropped = 0

    def __call__(self, line: str) -> None:
        """Pass `line` on, or count it as dropped."""
        now = time.monotonic()
        self._tokens = min(self._burst, self._tokens + (now - self._last) * self._rate)
        self._last = now
        if self._tokens < 1:
            self.dropped += 1
            return
        self._tokens -= 1
        self._sink(line)
