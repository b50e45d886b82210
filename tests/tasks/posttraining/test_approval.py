"""A person's word on a vibe check: what it lets pass, and what it stops with which words."""

from __future__ import annotations

from typing import Any

import pytest

from contracts.errors import ConfigError
from tasks.posttraining import approval_of, approval_problems

YES: dict[str, Any] = {"approved": True, "by": "Ada", "at": "2026-01-01T00:00:00+00:00"}


def test_only_a_yes_lets_the_line_go_on() -> None:
    assert approval_problems(approval_of({"approval": YES})) == []
    assert approval_problems(approval_of({})) == ["nobody has approved the answers yet"]
    assert approval_problems(approval_of({"approval": YES | {"approved": False, "remark": "no pirate"}})) == ["refused by Ada: no pirate"]


def test_a_word_without_a_name_is_none() -> None:
    with pytest.raises(ConfigError, match="by"):
        approval_of({"approval": YES | {"by": ""}})
