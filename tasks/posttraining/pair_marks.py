"""Marks of a judge for the answers that pairs are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tasks.posttraining.config import PairJudge
from tasks.posttraining.pair_choice import Asked
from tasks.posttraining.pair_parts import Shelf
from tasks.posttraining.rewards.judge import HIGHEST_MARK, Judge
from tasks.posttraining.rewards.sampled import Sampled, Unavailable
from tasks.posttraining.sampling import Answer


def marks_of(
    how: PairJudge,
    prompts: Sequence[Asked],
    answers: Sequence[Sequence[Answer]],
    batch_size: int,
    shelf: Shelf,
    told: Callable[[int, str], None],
) -> tuple[list[list[float | None]], list[dict[str, str]]]:
    """Marks [prompts][answers] from 0 to 10, None where the judge gave none, and the pins of every judge that gave some.

    All answers to a prompt are marked in one batch, and so by one judge, whichever served when a stopped stage began again.

    Raises:
        Unavailable: nobody answers there, or the key is refused. Unlike in a reward this ends the stage: a pair has no second step.
    """
    judge = Judge(how.url, how.seconds)
    found: list[list[float | None]] = []
    pins: list[dict[str, str]] = []
    for number, start in enumerate(range(0, len(prompts), batch_size)):
        batch = list(zip(prompts[start : start + batch_size], answers[start : start + batch_size], strict=True))
        kept = shelf.take("marks", number)
        if kept is None:
            kept = {"marks": _marks(judge, how, batch), "judge": judge.pin}
            shelf.keep("marks", number, kept, len(batch))
        found += kept["marks"]
        pins += [kept["judge"]] if kept["judge"] not in pins else []
        told(len(found), f"answers to {len(found):,} of {len(prompts):,} prompts marked")
    return found, [dict(pin) for pin in pins]


def _marks(judge: Judge, how: PairJudge, batch: Sequence[tuple[Asked, Sequence[Answer]]]) -> list[list[float | None]]:
    flat = [_sampled(one, answer) for one, given in batch for answer in given]
    try:
        values: list[Any] = [None if value is None else round(value * HIGHEST_MARK, 6) for value in judge(flat)]
    except Unavailable as error:
        do = "start the server, or correct pairs.judge.url and the key, and run again: answers, and batches that are marked, are kept"
        raise Unavailable(error.what, where=how.url, do=do) from None
    marks = iter(values)
    return [[next(marks) for _ in given] for _, given in batch]


def _sampled(one: Asked, answer: Answer) -> Sampled:
    return Sampled(one.sample.messages, answer.text, answer.tokens, answer.ended, {"answer": one.answer} if one.answer else {})
