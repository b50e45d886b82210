"""What the command prints: a table for people or JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any


def as_json(value: Any) -> None:
    """Print `value` as JSON on standard output."""
    json.dump(value, sys.stdout, indent=2, default=str, ensure_ascii=False)
    print()


def table(rows: Sequence[Sequence[Any]], header: Sequence[str], title: str = "") -> None:
    """Print a table that keeps its columns whole in a terminal and in a log file alike."""
    from rich.console import Console
    from rich.table import Table

    drawn = Table(*header, title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for row in rows:
        drawn.add_row(*[_cell(cell) for cell in row])
    console = Console(soft_wrap=not sys.stdout.isatty(), width=None if sys.stdout.isatty() else 140)
    console.print(drawn)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.1f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value).replace("[", r"\[")


def size(count: float) -> str:
    """Bytes as a person reads them (binary units)."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
