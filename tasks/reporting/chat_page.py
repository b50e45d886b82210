"""The page of a chat data set: what the linter found, and samples as the model sees them, what carries no loss in grey."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tasks.posttraining import LintReport, Shown, Token
from tasks.reporting.page import HERE, environment, stylesheet

_LONGEST = 3000
"""Tokens of one sample that are drawn; the rest is counted."""
_ENDS = {"\n": "↵\n", "\r": "␍", "\t": "⇥\t"}


@dataclass(frozen=True)
class DrawnToken:
    """One token, ready for a template."""

    id: int
    text: str
    look: str
    """`special`, `trained` or `masked`: the class it is drawn with."""


@dataclass(frozen=True)
class DrawnTurn:
    """One turn with its counts."""

    role: str
    count: int
    trained: int
    tokens: list[DrawnToken]


@dataclass(frozen=True)
class DrawnSample:
    """One sample, ready for a template."""

    where: str
    source: str
    mode: str
    count: int
    trained: int
    beyond: int | None
    """Tokens past the length that was asked about; None: it fits, or none was."""
    problems: dict[str, str]
    turns: list[DrawnTurn]
    left_out: int
    """Tokens that are counted and not drawn."""


def render_chat(report: LintReport, shown: Sequence[Shown]) -> str:
    """A page that stands alone: HTML text without scripts or addresses from outside; text from data is escaped.

    Args:
        shown: samples to draw, those with problems first.
    """
    from markupsafe import Markup

    ordered = sorted(shown, key=lambda one: not one.problems)
    page = environment().get_template("chat.html.j2")
    style = Markup(stylesheet() + (HERE / "chat.css").read_text())
    return page.render(report=report, samples=[drawn(one, report.length) for one in ordered], summary=summary(report), style=style)


def summary(report: LintReport) -> str:
    """What the linter says, in one sentence."""
    errors = sum(one.severity == "error" for one in report.findings)
    warnings = len(report.findings) - errors
    if not report.findings:
        return f"{report.samples:,} samples, no rule fired."
    parts = [f"{count} {word} rule{'s' * (count != 1)}" for count, word in ((errors, "error"), (warnings, "warning")) if count]
    return f"{report.samples:,} samples: {' and '.join(parts)} fired" + ("." if errors else "; nothing stops a training.")


def drawn(shown: Shown, length: int | None) -> DrawnSample:
    """One sample with its turns and tokens."""
    rendering, sample = shown.rendering, shown.sample
    turns, room = [], _LONGEST
    for tokens in rendering.turns():
        pieces = [_token(one) for one in tokens[: max(0, room)]]
        if pieces and pieces[-1].text == _ENDS["\n"]:
            pieces[-1] = replace(pieces[-1], text="↵")  # the box ends here anyway
        turns.append(DrawnTurn(_role(tokens), len(tokens), sum(one.trained for one in tokens), pieces))
        room -= len(tokens)
    count = len(rendering.ids)
    beyond = count - length if length is not None and count > length else None
    return DrawnSample(
        where=sample.where, source=sample.source, mode=sample.mode, count=count, trained=rendering.trained, beyond=beyond,
        problems=shown.problems, turns=turns, left_out=max(0, -room),
    )  # fmt: skip


def _role(tokens: Sequence[Token]) -> str:
    """What stands between the opening token and the end of its line; `text` where the template has no such line."""
    joined = "".join(token.text for token in tokens)
    first = joined.removeprefix("<|im_start|>").partition("\n")[0]
    return first if joined.startswith("<|im_start|>") and first.isalnum() else "text"


def _token(token: Token) -> DrawnToken:
    look = "special" if token.special else "trained" if token.trained else "masked"
    if token.special and token.trained:
        look = "special trained"
    return DrawnToken(token.id, "".join(_ENDS.get(letter, letter) for letter in token.text), look)
