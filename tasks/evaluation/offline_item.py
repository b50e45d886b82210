"""Items, and how those of the generated tasks are drawn: so that nothing but the task itself tells the answer."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from contracts.errors import ConfigError

CHOICES = 4
"""Choices of every generated item: guessing is right a quarter of the time."""
_TRIES = 1000

_NOUNS = """
army aunt bank barn bear bell bird boat bone book boot cake camp card cave coat corn crab desk door drum duck farm fish flag fork gate goat
gold hill home horn iron king lake lamp leaf lion milk moon nest note pipe pond rain ring road rock roof rope salt sand seed ship shoe snow
song star tent tree wall wind wolf wood
"""
WORDS = _NOUNS.split()
"""Common nouns of four letters each, so that a word's length says nothing."""


@dataclass(frozen=True)
class Item:
    """Which of `choices` continues `context`? Generated choices are of equal length and bring their own leading space."""

    context: str
    choices: tuple[str, ...]
    label: int


Draw = Callable[[random.Random, int], Item]
"""Draws one item whose right choice is the one at the given index. The choices must be drawn before the index is looked at: then no scorer
that sees the choices alone, be it by frequency, length or order, can be better than chance."""


def distinct(draw: Draw, rng: random.Random, number: int) -> Iterator[Item]:
    """`number` items, each index the right one equally often (as far as `number` can be shared out), no context twice.

    Raises:
        ConfigError: the task has not that many different items.
    """
    labels = [index % CHOICES for index in range(number)]
    rng.shuffle(labels)
    seen: set[str] = set()
    for label in labels:
        item = draw(rng, label)
        tries = 1
        while item.context in seen:
            if tries == _TRIES:
                raise ConfigError(f"only about {len(seen):,} different items of {number:,} can be generated", do="ask for fewer items")
            item = draw(rng, label)
            tries += 1
        seen.add(item.context)
        yield item
