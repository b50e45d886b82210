"""What the parity gate found: one `Check` per comparison, together a `Parity`."""

from __future__ import annotations

import math
from typing import Literal

from contracts.config import Config
from contracts.errors import GateError

Rule = Literal["at most", "at least"]


class Check(Config):
    """One comparison and its outcome."""

    name: str
    """What was compared."""
    passed: bool
    """Whether it is within its bound."""
    value: float | None = None
    """Measured value; none where there is no finite number."""
    bound: float | None = None
    """The bound."""
    rule: Rule = "at most"
    """On which side of the bound the value must lie."""
    detail: str = ""
    """What differs."""

    def said(self) -> str:
        """One line for a reader."""
        measured = "" if self.value is None else f" {self.value:.4g} ({self.rule} {self.bound:.4g})"
        return f"{self.name}{measured}" + (f": {self.detail}" if self.detail else "")


class Parity(Config):
    """parity.json: every check of one folder."""

    checks: list[Check]
    """In the order in which they ran."""
    tokens: int
    """Held-out positions compared."""

    @property
    def failed(self) -> list[Check]:
        """The checks outside their bounds."""
        return [check for check in self.checks if not check.passed]

    def require(self, where: str = "") -> None:
        """Raise GateError naming each failed check and by how much it failed."""
        if self.failed:
            raise GateError(
                f"the exported model is not the trained one: {'; '.join(check.said() for check in self.failed)}",
                do="use nothing of this export, parity cannot be waived: correct the part of the mapping that the checks name and convert "
                "again, or raise the bound in conversion.parity or conversion.rounding if you know why the models differ",
                where=where,
            )


def bounded(name: str, value: float, bound: float, rule: Rule = "at most") -> Check:
    """A check of `value` against `bound`; what is not finite fails."""
    if not math.isfinite(value):
        return Check(name=name, passed=False, bound=bound, rule=rule, detail=f"is {value}")
    passed = value <= bound if rule == "at most" else value >= bound
    return Check(name=name, passed=passed, value=value, bound=bound, rule=rule)
