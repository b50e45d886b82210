"""A person's word on the answers of a vibe check, kept beside them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from contracts.config import Config

APPROVAL = "approval"
"""Name of the record beside the artifact of the stage `vibe`."""


class Approval(Config):
    """What a person said, and when."""

    approved: bool
    """Whether the line may go on with this model."""
    by: str = Field(min_length=1)
    """Who said it."""
    remark: str = ""
    """Why."""
    at: str
    """ISO 8601, UTC."""

    @property
    def said(self) -> str:
        """In one line."""
        return f"{'approved' if self.approved else 'refused'} by {self.by}" + (f": {self.remark}" if self.remark else "")


def approval_of(records: Mapping[str, Any]) -> Approval | None:
    """The word of a person among the records beside a vibe check; None where nobody has said anything.

    Raises:
        ConfigError: a record that is none.
    """
    found = records.get(APPROVAL)
    return None if found is None else Approval.parse(found, f"record '{APPROVAL}'")


def approval_problems(found: Approval | None) -> list[str]:
    """What keeps a model whose answers a person must approve from going on."""
    if found is None:
        return ["nobody has approved the answers yet"]
    return [] if found.approved else [found.said]
