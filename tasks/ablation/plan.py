"""What the plan of a court says, as typed data: runs, tokens, FLOPs, device hours and money of every arm, and what a person should know."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from contracts.config import Config
from contracts.errors import GateError
from tasks.ablation.parity import Parity
from tasks.compass import Finding

__all__ = ["ArmPlan", "CourtPlan", "PlannedArm", "PlannedCourt", "require"]


class PlannedArm(Config):
    """One arm, all its seeds together."""

    arm: str
    """Its name."""
    runs: int
    """Runs to make: its seeds, without those left out."""
    device_hours: float | None = None
    """Device hours of all its runs at the assumed utilisation; unset where no peak is known."""


class PlannedCourt(Config):
    """Everything that can be said of any court before it is held."""

    name: str
    """The court."""
    before: str
    """Phase or step it stands before."""
    metric: str
    """What decides."""
    seeds: list[int]
    """Seeds of every arm."""
    arms: Sequence[PlannedArm]
    """The baseline first."""
    formula: str
    """FLOP convention."""
    peak: str
    """Dense peak of one device, with its source."""
    assumed_mfu: float
    """Share of the peak assumed."""
    money: float | None = None
    """Price of it all, at most; unset where no price, no peak or no length is given."""
    currency: str = "EUR"
    """Currency of `money`."""
    findings: list[Finding] = Field([])
    """Judgements; those of level `block` stop the launch."""

    @property
    def runs(self) -> int:
        """Runs in all."""
        return sum(arm.runs for arm in self.arms)

    @property
    def device_hours(self) -> float | None:
        """Device hours of all runs, at most; None where they are not known."""
        hours = [arm.device_hours for arm in self.arms]
        return None if None in hours else sum(hour or 0.0 for hour in hours)

    @property
    def blocked(self) -> list[Finding]:
        """Findings that stop a launch."""
        return [finding for finding in self.findings if finding.level == "block"]


class ArmPlan(PlannedArm):
    """One arm of a court before a phase."""

    tokens: int
    """Tokens of one run: whole steps."""
    flops: float
    """Model FLOPs of all its runs."""
    parity: Parity
    """Its size and work beside the baseline."""


class CourtPlan(PlannedCourt):
    """The plan of a court before a phase."""

    arms: list[ArmPlan]
    """The baseline first."""
    converted: bool
    """Whether every run is converted to a transformers model before it is measured."""

    @property
    def tokens(self) -> int:
        """Tokens of all runs."""
        return sum(arm.runs * arm.tokens for arm in self.arms)

    @property
    def flops(self) -> float:
        """Model FLOPs of all runs."""
        return sum(arm.flops for arm in self.arms)


def require(plan: PlannedCourt) -> None:
    """Raise GateError naming every blocking finding; silent where there is none."""
    if plan.blocked:
        text = "; ".join(f"{finding.topic}: {finding.what}" for finding in plan.blocked)
        advice = "; ".join(dict.fromkeys(finding.do for finding in plan.blocked if finding.do))
        raise GateError(text, do=advice or "change the court", where=f"court '{plan.name}'")
