"""One thing that was looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    topic: str
    level: Literal["ok", "warn", "error"]
    """error: something here cannot work; warn: a code path is closed, or slower than it could be."""
    found: str
    """What is there."""
    means: str
    """Which code paths that opens or closes, and what to do."""
