"""What a flow run has at hand: site, store, plan, and a job folder per stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from flows.dag import dag
from flows.plan import Node, Plan
from flows.recipe import load
from infra.site import Site
from infra.site import load as load_site
from infra.store import Store


@dataclass(frozen=True)
class Desk:
    """One recipe on one site.

    Args:
        reference: name, path or store reference of the recipe.
        overrides: `a.b=c` assignments on top of it.
        pinned: fingerprints of stages that are given, not derived (inputs chosen by a person, or handed over by another pool's playbook).
    """

    reference: str
    overrides: tuple[str, ...] = ()
    pinned: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, reference: str, overrides: Sequence[str] = (), pinned: Mapping[str, str] | None = None) -> Desk:
        """The desk of one flow run's parameters."""
        return cls(reference, tuple(overrides), tuple(sorted((pinned or {}).items())))

    @cached_property
    def site(self) -> Site:
        """Where things run here."""
        return load_site()

    @cached_property
    def store(self) -> Store:
        """The site's store; fails fast when it is away."""
        return Store.open(self.site.store)

    @cached_property
    def plan(self) -> Plan:
        """Every stage with its fingerprint."""
        return dag(load(self.reference, self.overrides, self.store), dict(self.pinned))

    def job_dir(self, node: Node) -> Path:
        """The pinned local folder in which `node` works; the same for every attempt, so that a resume finds leftovers."""
        return Path(self.site.scratch) / "jobs" / f"{node.name}-{node.workspace_key[:12]}"
