"""Rewards that compare with an expected answer: exact answer, format, text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from tasks.posttraining.config import Mode
from tasks.posttraining.reply import parse_reply
from tasks.posttraining.rewards.sampled import Sampled
from tasks.posttraining.verifiers import grade, said_answer

_PUNCTUATION = re.compile(r"[^\w\s]")


class ExactAnswer:
    """1 for a reply whose answer is exactly the expected one, else 0; column `answer`."""

    def __init__(self, mode: Mode) -> None:
        self._mode = mode

    def __call__(self, answers: Sequence[Sampled]) -> Iterable[float | None]:
        """One value per answer."""
        for one in answers:
            expected = one.row.get("answer")
            yield None if expected is None else float(grade(one.text, str(expected), self._mode, one.ended).correct)


class Format:
    """1 for a reply in the form its mode asks for, whatever it answers, else 0."""

    def __init__(self, mode: Mode) -> None:
        self._mode = mode

    def __call__(self, answers: Sequence[Sampled]) -> Iterable[float | None]:
        """One value per answer."""
        return [float(grade(one.text, "", self._mode, one.ended).formatted) for one in answers]


def string_match(answers: Sequence[Sampled]) -> Iterable[float | None]:
    """1 for a reply that says the expected words and nothing else, whatever their case, spacing and punctuation; column `answer`."""
    for one in answers:
        expected = one.row.get("answer")
        yield None if expected is None else float(one.ended and _words(_answer(one.text)) == _words(str(expected)))


def _answer(text: str) -> str:
    try:
        answer = parse_reply(text).answer
    except ValueError:
        return ""
    return said_answer(answer) or answer


def _words(text: str) -> list[str]:
    return _PUNCTUATION.sub(" ", text.casefold()).split()
