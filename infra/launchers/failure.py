"""Why a job failed, out of its log: torch's table of the first failed rank, and that rank's traceback."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator

_ROOT_CAUSE = re.compile(r"^Root Cause \(first observed failure\):\n(.*?)^=+$", re.MULTILINE | re.DOTALL)
_RANK = re.compile(r"^\[rank\d+\]: ?", re.MULTILINE)
_TRACEBACK = "Traceback (most recent call last):"
_AGENT = "torch.distributed.elastic.multiprocessing.errors.ChildFailedError"
LAST_LINES = 40


def explain(log: str, exit_code: int, reason: str = "") -> str:
    """What to tell a person.

    Args:
        log: what the job wrote.
        exit_code: of the started process, negative for a signal.
        reason: what the worker itself said, if it came that far.
    """
    table = _ROOT_CAUSE.search(log)
    trace = next((found for found in _tracebacks(log) if _AGENT not in found), "")
    parts = [reason or ended(exit_code)]
    if trace and not reason:
        parts.append("\n".join(trace.splitlines()[-20:]))
    elif table is None and not reason:
        parts.append("last lines of its log:\n" + "\n".join(log.splitlines()[-LAST_LINES:]))
    if table is not None:
        parts.append(table.group().rstrip("=\n"))
        if "SIGKILL" in table.group():
            parts.append("SIGKILL from outside: the machine ran out of memory, or somebody ended it")
    return "\n".join(parts)


def ended(exit_code: int) -> str:
    """How a process ended that left no result, in words."""
    if exit_code >= 0:
        return f"the worker ended with exit code {exit_code} and left no result"
    name = signal.Signals(-exit_code).name
    hint = ": the machine ran out of memory, or somebody ended it" if name == "SIGKILL" else ""
    return f"the worker was ended by {name}{hint}"


def _tracebacks(log: str) -> Iterator[str]:
    """Every Python traceback, from its headline to the line that names the exception."""
    block: list[str] = []
    for line in _RANK.sub("", log).splitlines():
        if line == _TRACEBACK:
            block = [line]
        elif block:
            block.append(line)
            if not line.startswith((" ", "\t")) and line:
                yield "\n".join(block)
                block = []
