"""Whether a reply is right and in form: one judgement for pairs, rewards, measurements and merges alike."""

from __future__ import annotations

import re
from typing import NamedTuple

from tasks.posttraining.config import Mode
from tasks.posttraining.reply import parse_reply

_ANSWER = re.compile(r"The answer is (\S(?:[^\n]*\S)?)\.")
_REFLECTIVE = re.compile(
    r"\b(?:wait|hmm+|alternatively|on second thought|let me (?:re-?check|double[- ]check|verify|re-?think|re-?consider))\b", re.IGNORECASE
)


class Grade(NamedTuple):
    """Judgement of one reply."""

    correct: bool
    """It says the expected answer and no other one, whatever it thought before."""
    formatted: bool
    """It reasons exactly where the mode asks for it, and its answer is the one line `The answer is N.`."""


NOTHING = Grade(correct=False, formatted=False)
"""A reply without anything to judge: cut, empty or broken."""


def grade(reply: str, answer: str, mode: Mode, ended: bool = True) -> Grade:
    """Judge a reply against the exact answer.

    Args:
        reply: generated text with its think tags, without control tokens.
        answer: what should stand for N in `The answer is N.`.
        mode: `think` wants reasoning that is not empty before the answer, `no_think` wants none.
        ended: the model closed its turn. What was cut by a length limit is neither correct nor formatted.

    Returns:
        Never raises: a think block that is not closed, opens twice or stands after the answer is a reply that says nothing.
    """
    if not ended:
        return NOTHING
    try:
        parsed = parse_reply(reply)
    except ValueError:
        return NOTHING
    said = said_answer(parsed.answer)
    if said is None or parsed.calls:
        return NOTHING
    return Grade(said == answer.strip(), bool(parsed.reasoning) == (mode == "think"))


def said_answer(text: str) -> str | None:
    """N of a text that is exactly the line `The answer is N.`; None for any other text, one with two answers included."""
    found = _ANSWER.fullmatch(text.strip())
    return found[1] if found and "the answer is" not in found[1].lower() else None


def reflections(text: str) -> int:
    """Reflective phrases ("Wait", "Hmm", "let me double-check"): they multiplied when SmolLM3's reward was bought with length.

    Smol Training Playbook, reinforcement learning with verifiable rewards.
    """
    return len(_REFLECTIVE.findall(text))
