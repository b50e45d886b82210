"""Launchers: start the processes of a job, watch them, and end every one of them. No Prefect here: who calls gets callbacks."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

_CHILD = str(Path(__file__).with_name("child.py"))


def clean_start(program: Sequence[str], die_with: int | None = None) -> list[str]:
    """Command that starts `program` with default signal actions; with `die_with` it gets SIGTERM when that process (the caller) dies."""
    options = ["--die-with", str(die_with)] if die_with is not None else []
    return [sys.executable, "-I", "-S", _CHILD, *options, "--", *program]
