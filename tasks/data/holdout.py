"""Which groups (packages, web domains, files) are kept away from training, decided from their sizes before anything is trained."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from contracts.config import nearest
from contracts.errors import InputError
from tasks.data.config import Curation, Holdout

MIN_GROUPS = {"package": 2, "domain": 5, "file": 5}
KEPT_ITEMS = "items:heldout"
"""Group of generated documents that are made of held-out items: held out whatever a recipe says."""


def draw(seed: int, key: str) -> float:
    """A number in [0, 1) that depends on seed and key alone."""
    return int.from_bytes(hashlib.blake2b(f"{seed}\0{key}".encode(), digest_size=8).digest(), "big") / 2**64


@dataclass
class Choice:
    """What of one source is held out: whole groups, or single documents where the source has too few groups."""

    grouped_by: str
    groups: set[str] = field(default_factory=set)
    share: float = 0.0
    seed: int = 0
    first: str = ""

    def holds(self, document_id: str, group: str) -> bool:
        """Whether a document belongs to the held-out part."""
        if self.grouped_by == "document":
            return document_id == self.first or draw(self.seed, document_id) < self.share
        return group in self.groups


def choose(source: Curation, sizes: Mapping[str, int], seed: int, first: str) -> Choice:
    """Choose from {group: bytes of text} of one source; `first` is its document with the lowest draw.

    Groups are tried in an order drawn from the seed; each is taken if the sum comes closer to the share by it. If none fits, the
    smallest is taken. Of generated text the documents made of held-out items are held out, and nothing else.

    Raises:
        InputError: the recipe names a group that the source does not have.
    """
    wanted: Holdout = source.heldout
    if KEPT_ITEMS in sizes:
        return Choice("item", {KEPT_ITEMS})
    if wanted.packages:
        return Choice("named", _named(source, sizes))
    kind = next(iter(sizes)).partition(":")[0]
    if len(sizes) < MIN_GROUPS[kind]:
        share = min(wanted.share, wanted.max_bytes / max(1, sum(sizes.values())))
        return Choice("document", share=share, seed=seed, first=first if share else "")
    target = min(wanted.share * sum(sizes.values()), wanted.max_bytes)
    taken: set[str] = set()
    held = 0
    for group in sorted(sizes, key=lambda name: draw(seed, name)):
        if sizes[group] < 2 * (target - held):  # brings the sum closer to the target
            taken.add(group)
            held += sizes[group]
    if target > 0 and not taken:
        taken.add(min(sizes, key=lambda name: (sizes[name], name)))
    return Choice(kind, taken)


def share_across(choices: Mapping[str, Choice]) -> None:
    """A package or domain held out of one source is held out of all that know it."""
    common = {group for choice in choices.values() for group in choice.groups if group.startswith(("package:", "domain:"))}
    for choice in choices.values():
        choice.groups |= common


def _named(source: Curation, sizes: Mapping[str, int]) -> set[str]:
    by_name = {group.partition(":")[2]: group for group in sizes}
    for name in source.heldout.packages:
        if name not in by_name:
            raise InputError(
                f"'{name}' is to be held out of source '{source.name}', which has no text of it{nearest(name, sorted(by_name)[:40])}",
                where=f"data.sources.{source.name}.heldout.packages", do="name packages, domains or files that the source has",
            )  # fmt: skip
    return {by_name[name] for name in source.heldout.packages}
