"""Items of generated skills as conversations: the question in a mode, and the answer that belongs to it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from tasks.data import Item, draw
from tasks.posttraining.config import Mode


def question(item: Item, mode: Mode) -> list[dict[str, Any]]:
    """The messages up to the answer; the mode stands in the system message, which every trainer reads alike."""
    return [{"role": "system", "content": f"/{mode}"}, {"role": "user", "content": item.question}]


def reply(item: Item, mode: Mode) -> str:
    """The right answer: after its worked steps where the mode is to think."""
    return f"<think>\n{item.steps}\n</think>\n{item.said}" if mode == "think" else item.said


def skill_rows(skill: str, mode: Mode, count: int, seed: str, pairs: bool = False) -> Iterator[dict[str, Any]]:
    """`count` conversations over items that may be trained on, with the bare answer beside them; never a held-out one.

    Args:
        pairs: in place of the conversation a prompt with its right answer (`chosen`) and one with a wrong digit (`rejected`).

    Raises:
        ConfigError: no such skill.
    """
    rng = random.Random(seed)
    for _ in range(count):
        item = draw(skill, rng, heldout=False)
        asked, right = question(item, mode), {"role": "assistant", "content": reply(item, mode)}
        if not pairs:
            yield {"messages": [*asked, right], "answer": item.answer}
            continue
        wrong = {"role": "assistant", "content": reply(misread(item, rng), mode)}
        yield {"prompt": asked, "chosen": [right], "rejected": [wrong]}


def misread(item: Item, rng: random.Random) -> Item:
    """The item with one digit of its answer replaced by another one."""
    at = rng.randrange(len(item.answer))
    digit = str((int(item.answer[at]) + rng.randint(1, 9)) % 10)
    return item._replace(answer=item.answer[:at] + digit + item.answer[at + 1 :])
