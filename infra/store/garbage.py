"""Garbage collection that knows the lineage: what a kept artifact came from is kept as well."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from infra.store.errors import LeaseHeld
from infra.store.lease import live_holder
from infra.store.transfer import part_folder
from infra.store.workspace import sealed, workspace_folder

if TYPE_CHECKING:
    from infra.store.store import Artifact, Store


@dataclass(frozen=True)
class Garbage:
    """Something that goes."""

    kind: str
    """'artifact' (its manifest and records), 'part', or 'upload' (files that were never sealed)."""
    path: str
    """Relative to the store's root."""
    bytes: int


def collect(store: Store, keep: set[str], *, dry_run: bool) -> list[Garbage]:
    """See `Store.gc`."""
    artifacts = store.artifacts(strict=True)
    kept = lineage(artifacts, keep)
    found: list[tuple[Garbage, list[str]]] = []
    for artifact in artifacts:
        if artifact.fingerprint not in kept:
            folder = f"artifacts/{artifact.stage}/{artifact.fingerprint}"
            sizes = store.objects.sizes(folder)
            found.append(_garbage("artifact", folder, sizes, first=f"{folder}/manifest.json"))
    needed = {part_folder(file.at) for artifact in artifacts if artifact.fingerprint in kept for file in artifact.manifest.files}
    for stage in store.objects.children("workspaces"):
        for key in store.objects.children(f"workspaces/{stage}"):
            holder = live_holder(store.objects, workspace_folder(stage, key))
            if holder is None:
                found += _unneeded(store, stage, key, needed, all_sealed=key in keep)
            elif key not in keep and not dry_run:
                do = "wait for it to end: it may need artifacts that would go"
                raise LeaseHeld(f"a run that is not to be kept is at work: {holder}", do=do, where=f"{stage}/{key}")
    if not dry_run:
        for _, keys in found:
            store.objects.delete(keys)
    return [garbage for garbage, _ in found]


def lineage(artifacts: list[Artifact], keep: set[str]) -> set[str]:
    """Fingerprints in `keep` and all that they came from."""
    by_fingerprint = {artifact.fingerprint: artifact for artifact in artifacts}
    kept: set[str] = set()
    todo = [fingerprint for fingerprint in keep if fingerprint in by_fingerprint]
    while todo:
        fingerprint = todo.pop()
        if fingerprint in kept or fingerprint not in by_fingerprint:
            continue
        kept.add(fingerprint)
        todo += [reference.fingerprint for reference in by_fingerprint[fingerprint].manifest.inputs.values()]
    return kept


def _unneeded(store: Store, stage: str, key: str, needed: set[str], *, all_sealed: bool) -> Iterator[tuple[Garbage, list[str]]]:
    """Parts and uploads of one workspace that nobody works in. Its leases stay: their numbers fence whoever may still believe in one."""
    parts = f"{workspace_folder(stage, key)}/parts"
    sizes = store.objects.sizes(parts)
    whole = {part.name: part for part in sealed(store.objects, workspace_folder(stage, key))}
    groups: dict[tuple[str, str], dict[str, int]] = {}
    for path, size in sizes.items():
        name, _, rest = path.removeprefix(f"{parts}/").partition("/")
        groups.setdefault((name, rest.split("/")[0]), {})[path] = size
    for (name, inner), files in sorted(groups.items()):
        record, part = f"{parts}/{name}/part.json", whole.get(name)
        if inner == "part.json" or f"{parts}/{name}/{inner}" in needed:
            continue
        if part is not None and inner == str(part.lease):
            if not all_sealed:
                yield _garbage("part", f"{parts}/{name}", files | {record: sizes[record]}, first=record)
        elif part is not None or record not in sizes:
            yield _garbage("upload", f"{parts}/{name}/{inner}", files)


def _garbage(kind: str, path: str, sizes: dict[str, int], first: str = "") -> tuple[Garbage, list[str]]:
    """What goes, and its keys in the order in which they go: the record that makes it real is the `first`."""
    return Garbage(kind, path, sum(sizes.values())), sorted(sizes, key=lambda key: (key != first, key))
