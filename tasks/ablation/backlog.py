"""The backlog: modifications waiting for a court, and what became of each, read from the decision log."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from contracts.errors import ConfigError
from tasks.ablation.config import Backlog, Modification

__all__ = ["Standing", "load", "next_items", "states", "waiting"]

Standing = Literal["proposed", "tested", "accepted", "rejected"]
"""proposed: no court has judged it as it is written now. tested: judged, nothing decided. accepted, rejected: decided."""


def load(path: Path) -> Backlog:
    """The backlog in a YAML file.

    Raises:
        ConfigError: no such file, or no backlog; unknown keys with the nearest name.
    """
    if not path.is_file():
        raise ConfigError(f"no backlog at {path}", do="give the path of a .yaml file with `modifications`")
    return Backlog.from_yaml(path.read_text(), str(path))


def states(backlog: Backlog, decisions: Iterable[Mapping[str, Any]]) -> dict[str, Standing]:
    """Modification -> its state.

    Args:
        decisions: entries of the decision logs (`Decision` as JSON), oldest first; of several on one change the last one holds. They are
            matched by digest: a modification that was rewritten is another one, and proposed again.
    """
    decided: dict[str, Standing] = {str(entry["digest"]): entry["state"] for entry in decisions}
    return {one.name: decided.get(one.digest, "proposed") for one in backlog.modifications}


def next_items(backlog: Backlog, decisions: Iterable[Mapping[str, Any]]) -> list[Modification]:
    """What is new since the last court and can be tested now, in the backlog's order: proposed, and everything it depends on accepted."""
    now = states(backlog, decisions)
    held_back = waiting(backlog, now)
    return [one for one in backlog.modifications if now[one.name] == "proposed" and one.name not in held_back]


def waiting(backlog: Backlog, now: Mapping[str, Standing]) -> dict[str, str]:
    """Proposed modifications that cannot be tested now, each with the reason: what it depends on is not accepted, or never will be."""
    found = {}
    for one in backlog.modifications:
        missing = [f"'{name}', which is {now[name]}" for name in one.depends_on if now[name] != "accepted"]
        if missing and now[one.name] == "proposed":
            found[one.name] = f"depends on {' and '.join(missing)}"
    return found
