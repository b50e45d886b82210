"""Why a stage would be reused or run again: the field or input that differs from the nearest artifact in the store."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from contracts.config import leaves
from contracts.errors import GateError
from flows.approval import problems
from flows.desk import Desk
from flows.plan import Node
from flows.stage import already_there, find
from infra.store import Artifact

SHOWN = 4


@dataclass(frozen=True)
class Reason:
    """One stage's outlook."""

    stage: str
    fingerprint: str
    verdict: str
    """'reused', 'refused' (there, but a gate stops it), 'asks' (there, but a person has to approve it), 'runs' (nothing like it in the
    store), 're-runs' or 'undecided'."""
    because: list[str] = field(default_factory=list)
    seconds: float | None = None
    """What the nearest artifact of this stage cost; None where none is there."""


def explain(desk: Desk) -> list[Reason]:
    """The outlook of every stage, in running order."""
    known: dict[str, list[Artifact]] = {}
    for artifact in desk.store.artifacts():
        known.setdefault(artifact.stage, []).append(artifact)
    return [_outlook(node, known.get(node.name, []), desk) for node in desk.plan]


def _outlook(node: Node, earlier: list[Artifact], desk: Desk) -> Reason:
    if node.awaits is not None:
        return Reason(node.name, "", "undecided", [f"known once {node.awaits.name} has decided"])
    found = find(node, desk)
    if found is not None:
        try:
            if not already_there(node, desk):
                return Reason(node.name, node.fingerprint, "asks", problems(found, desk), _cost(found))
        except GateError as error:
            return Reason(node.name, node.fingerprint, "refused", [error.what], _cost(found))
        return Reason(node.name, node.fingerprint, "reused", seconds=_cost(found))
    if not earlier:
        return Reason(node.name, node.fingerprint, "runs", ["no artifact of this stage in the store"])
    now = node.recorded()
    differences = [(differing(artifact.manifest.config, now), artifact) for artifact in earlier]
    changes, nearest = min(differences, key=lambda pair: len(pair[0]))
    shown = changes[:SHOWN] + ([f"and {len(changes) - SHOWN} more"] if len(changes) > SHOWN else [])
    return Reason(node.name, node.fingerprint, "re-runs", shown, _cost(nearest))


def differing(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """One line per leaf that differs between two recorded documents of a stage; an input is named by its role."""
    old, new = dict(leaves(before)), dict(leaves(after))
    lines = []
    for path in sorted(old.keys() | new.keys()):
        if old.get(path) == new.get(path):
            continue
        if path.startswith("inputs.") and path.endswith(".train"):
            continue  # what trained a run shows in its evaluation's input too
        if path.startswith("inputs."):
            lines.append(f"input {path.removeprefix('inputs.')} changed")
        elif path == "outside":
            lines.append("the text outside the store changed")
        else:
            lines.append(f"{path.removeprefix('config.')}: {old.get(path, 'unset')} -> {new.get(path, 'unset')}")
    return lines


def _cost(artifact: Artifact) -> float | None:
    seconds = artifact.manifest.cost.get("seconds")
    return None if seconds is None else float(seconds)
