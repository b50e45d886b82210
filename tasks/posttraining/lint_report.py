"""What the linter found, typed: `chat.json` of a check, and the table of its page."""

from __future__ import annotations

from pydantic import Field

from contracts.config import Config
from tasks.posttraining.rules import Severity


class Example(Config):
    """One sample that broke a rule."""

    where: str
    """File and line."""
    what: str
    """What is wrong there."""


class Finding(Config):
    """One rule that fired."""

    rule: str
    """Its name."""
    severity: Severity
    """An error ends the command with exit code 1."""
    what: str
    """What the rule says, in words."""
    do: str
    """What to do about it."""
    count: int = Field(ge=0)
    """Samples it fired on; for a rule over the whole set, those concerned."""
    share: float = Field(ge=0, le=1)
    """Of all samples."""
    examples: list[Example] = Field(default_factory=list)
    """The first few."""


class Group(Config):
    """What one source gives to one mode."""

    source: str
    """Name of the source."""
    mode: str
    """`think`, `no_think`, `both` where turns differ, or `none`."""
    samples: int
    """Conversations."""
    size: int
    """Tokens, or bytes where no tokenizer was given."""
    trained: int | None = None
    """Tokens that carry loss; None without a tokenizer."""
    share: float
    """Of the size of the whole set: balance is judged by tokens, not by samples."""


class LintReport(Config):
    """One chat data set, checked."""

    data: str
    """What was read."""
    unit: str
    """What sizes are counted in: `tokens` or, without a tokenizer, `bytes`."""
    samples: int
    """Conversations read."""
    size: int
    """Of all samples that could be rendered."""
    trained: int | None = None
    """Tokens that carry loss."""
    length: int | None = None
    """Longest sequence asked about."""
    truncated: int | None = None
    """Samples longer than that."""
    system_wanted: int
    """Samples that ask for text of their own in the system turn."""
    system_kept: int | None = None
    """Of these, those in which the model sees it whole; None without a tokenizer."""
    prompts: int
    """Different first questions."""
    paired: int
    """Of these, those answered in both modes."""
    findings: list[Finding]
    """Rules that fired, errors first."""
    groups: list[Group]
    """Sources and modes, largest first."""

    @property
    def ok(self) -> bool:
        """No rule of severity `error` fired."""
        return not any(finding.severity == "error" for finding in self.findings)

    @property
    def coverage(self) -> float | None:
        """Share of tokens that carry loss."""
        return None if self.trained is None else self.trained / max(1, self.size)

    def mode_share(self, mode: str) -> float:
        """Share of the size in one mode."""
        return sum(group.share for group in self.groups if group.mode == mode)


def chat_problems(report: LintReport) -> list[str]:
    """The gate: what stops a data set from being trained on, a sentence each; empty where nothing does."""
    lines = []
    for one in report.findings:
        if one.severity == "error":
            example = f" (for example {one.examples[0].where}: {one.examples[0].what})" if one.examples else ""
            lines.append(f"{one.rule}: {one.count:,} of {report.samples:,} samples{example}; {one.do}")
    return lines
