"""What a flow run has at hand: site, store, plan, and a job folder per stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from contracts.errors import SmolflowError
from flows.dag import dag
from flows.plan import Arm, Node, Plan
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
        """Every stage with its fingerprint, as far as the courts have decided by now (see `again`)."""
        return dag(load(self.reference, self.overrides, self.store), dict(self.pinned), self._accepted)

    def again(self) -> Desk:
        """The same recipe with its plan made anew: a court may have decided since."""
        return self._with(replace(self))

    def of_arm(self, arm: Arm) -> Desk:
        """The recipe of one run of a sweep."""
        return self._with(replace(self, overrides=(*self.overrides, *arm.overrides), pinned=()), plan=arm.plan)

    def over(self, plan: Plan) -> Desk:
        """The same recipe with other stages: `plan` says which."""
        return self._with(replace(self, pinned=()), plan=plan)

    def _with(self, other: Desk, **known: Plan) -> Desk:
        vars(other).update(site=self.site, store=self.store, **known)  # what cached_property would look up once more
        return other

    def _accepted(self, court: Node) -> list[str] | None:
        """What `court` accepted, where its artifact can be told and is there; else the plan goes on undecided."""
        try:
            found = self.store.find(court.fingerprint, court.name)
        except SmolflowError:
            return None
        return None if found is None else [str(one) for one in found.manifest.evidence["accepted"]]

    def job_dir(self, node: Node) -> Path:
        """The pinned local folder in which `node` works; the same for every attempt, so that a resume finds leftovers."""
        return Path(self.site.scratch) / "jobs" / f"{node.name}-{node.workspace_key[:12]}"
