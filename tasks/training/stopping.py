"""Stopping a trainer between two steps."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType


class StopFlag:
    """SIGTERM and SIGINT only raise a flag: the step is finished and saved first."""

    def __init__(self) -> None:
        self.raised = ""

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """The signal handler."""
        self.raised = signal.Signals(number).name

    @contextlib.contextmanager
    def listening(self) -> Iterator[StopFlag]:
        """Handle the signals within."""
        before = {number: signal.signal(number, self) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield self
        finally:
            for number, action in before.items():
                signal.signal(number, action)
