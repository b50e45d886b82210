"""Which answers to a prompt become its pair: by a verifier, by whose they are, by a judge's marks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tasks.posttraining.config import Mode, PairConfig
from tasks.posttraining.conversation import Sample
from tasks.posttraining.sampling import Answer
from tasks.posttraining.verifiers import grade

OUTCOMES = ("pair", "all_wrong", "all_right", "only_cut", "repeated", "no_margin", "no_marks", "identical")
"""What came of a prompt: a pair; nothing right to choose; nothing wrong to reject; on one side nothing that ended; asked before; marks too
close to each other; no marks; both answers read the same."""


class Asked(NamedTuple):
    """One prompt with what is needed to judge its answers."""

    sample: Sample
    """The messages up to the answer."""
    answer: str | None
    """The exact one, where it is known."""
    mode: Mode
    source: str


class Judged(NamedTuple):
    """An answer, and what is thought of it."""

    text: str
    ended: bool
    right: bool | None
    """By the verifier; None: the exact answer is not known."""
    mark: float | None
    """Of the judge, 0 to 10; None: it gave none, or there is no judge."""


class Choice(NamedTuple):
    """What came of a prompt."""

    outcome: str
    """One of `OUTCOMES`."""
    counts: dict[str, int]
    """Of its answers, by what was found about them."""
    chosen: str = ""
    rejected: str = ""


def choose(one: Asked, own: Sequence[Answer], strong: Sequence[Answer], marks: Sequence[float | None], how: PairConfig) -> Choice:
    """The pair of a prompt, or why there is none.

    Args:
        own: the parent's answers.
        strong: those of the strong model; none where there is none.
        marks: of the parent's answers, then the strong model's; none where there is no judge.
    """
    judged = [
        Judged(answer.text, answer.ended, _right(one, answer), marks[at] if marks else None) for at, answer in enumerate([*own, *strong])
    ]
    mine, better = judged[: len(own)], judged[len(own) :]
    counts = {"answers": len(own), "verified": sum(answer.right is True for answer in mine), "cut": sum(not one.ended for one in mine)}
    if how.verified:
        chosen = next((answer for answer in mine if answer.right), None)
        rejected = next((answer for answer in mine if not answer.right and answer.ended), None)
        if chosen and rejected:
            return Choice("pair", counts, chosen.text, rejected.text)
        every = all(answer.right for answer in mine)
        return Choice("all_wrong" if not chosen else "all_right" if every else "only_cut", counts)
    counts |= {
        "ungraded": len(own) * (one.answer is None),
        "strong_answers": len(better),
        "strong_cut": sum(not one.ended for one in better),
    }
    if how.judge:
        counts["unmarked"] = sum(answer.ended and answer.mark is None for answer in judged)
    high = [answer for answer in (better if how.strong else mine) if answer.ended]
    low = [answer for answer in mine if answer.ended]
    if not high or not low:
        return Choice("only_cut", counts)
    if how.strong:
        counts |= {
            "strong_wrong": sum(answer.right is False for answer in high),
            "parent_right": sum(answer.right is True for answer in low),
        }
        high = [answer for answer in high if answer.right is not False]
        low = [answer for answer in low if not answer.right]
        if not high or not low:
            return Choice("all_right" if high else "all_wrong", counts)
    return _by_marks(high, low, how, counts) if how.judge else _differing(high[0], low, counts)


def _right(one: Asked, answer: Answer) -> bool | None:
    return None if one.answer is None else all(grade(answer.text, one.answer, one.mode, answer.ended))


def _differing(chosen: Judged, low: Sequence[Judged], counts: dict[str, int]) -> Choice:
    rejected = next((answer.text for answer in low if answer.text != chosen.text), None)
    return Choice("identical", counts) if rejected is None else Choice("pair", counts, chosen.text, rejected)


def _by_marks(high: Sequence[Judged], low: Sequence[Judged], how: PairConfig, counts: dict[str, int]) -> Choice:
    """The best of `high` over the worst of `low`; of equal marks the first."""
    assert how.judge is not None
    best = max(((answer.mark, -at) for at, answer in enumerate(high) if answer.mark is not None), default=None)
    worst = min(((answer.mark, at) for at, answer in enumerate(low) if answer.mark is not None), default=None)
    if best is None or worst is None:
        return Choice("no_marks", counts)
    if best[0] - worst[0] < how.judge.margin - 1e-6:  # marks are tenths of what the judge's reward gives, and rounded
        return Choice("no_margin", counts)
    chosen, rejected = high[-best[1]], low[worst[1]]
    if chosen.text == rejected.text:
        return Choice("identical", counts)
    counts["chosen_wrong"] = int(chosen.right is False)  # told, not dropped: a judge was asked for more than the exact answer
    return Choice("pair", counts, chosen.text, rejected.text)
