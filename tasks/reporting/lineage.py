"""Where a model comes from, read from manifests: its stages back to the data, and which of them shaped its weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Manifests = Mapping[str, Mapping[str, Any]]
MODEL_ROLES = ("model", "checkpoint", "parent")
"""Roles in which a stage reads the model that it goes on from."""
MERGE = "merge"


def ancestry(manifests: Manifests, stage: str) -> list[str]:
    """Every stage that `stage` was made from, itself last, each after what it read."""
    found: list[str] = []

    def walk(name: str) -> None:
        if name in found or name not in manifests:
            return
        for source in inputs_of(manifests, name).values():
            walk(source)
        found.append(name)

    walk(stage)
    return found


def inputs_of(manifests: Manifests, stage: str) -> dict[str, str]:
    """Role -> stage that was read."""
    return {str(role): str(one["stage"]) for role, one in manifests.get(stage, {}).get("inputs", {}).items()}


def parents_of(manifests: Manifests, stage: str) -> list[str]:
    """Stages whose weights a stage went on from; of a merge the inputs of its winner, which may be one parent as it is."""
    if stage == MERGE:
        return merged_from(manifests.get(MERGE, {}))
    read = inputs_of(manifests, stage)
    return [read[role] for role in MODEL_ROLES if role in read]


def merged_from(manifest: Mapping[str, Any]) -> list[str]:
    """Stages in the model that a merge chose: the parts of its winner, or the one parent that won as it is."""
    found = manifest.get("evidence", {}).get("made_of", [])
    return [str(stage) for stage in found]


def weights_line(manifests: Manifests, stage: str) -> list[str]:
    """Stages that shaped the weights of `stage`, the first training phase first; a released model has no other gains than theirs."""
    found: list[str] = []

    def walk(name: str) -> Iterator[str]:
        for parent in parents_of(manifests, name):
            yield from walk(parent)
        yield name

    for name in walk(stage):
        if name not in found:
            found.append(name)
    return found


def config_of(manifests: Manifests, stage: str) -> Mapping[str, Any]:
    """What a stage was told, as its fingerprint hashes it: no placement, no gates."""
    found: Mapping[str, Any] = manifests.get(stage, {}).get("config", {}).get("config", {}) or {}
    return found
