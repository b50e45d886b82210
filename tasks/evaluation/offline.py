"""The tasks of the offline suite that need no text: generated from a seed alone, so nothing can have been in the training data.

All are at chance for the models of a laptop; docs/qualify.md has the figures.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from tasks.evaluation.offline_item import CHOICES, Item, distinct
from tasks.evaluation.offline_sequences import copying, induction, recall
from tasks.evaluation.offline_symbols import arithmetic_with_carry, arithmetic_without_carry, bracket_matching

__all__ = ["CHANCE", "GENERATORS", "RECALL_TOKENS", "Item"]

CHANCE = 1 / CHOICES
"""What guessing scores on every generated task."""
RECALL_TOKENS = (32, 64, 128, 192)
"""Lengths of the recall tasks, in tokens, about."""

Generator = Callable[[random.Random, int], Iterator[Item]]


def _recall(tokens: int) -> Generator:
    draw = recall(tokens)
    return lambda rng, number: distinct(draw, rng, number)


GENERATORS: dict[str, Generator] = {
    "copying": copying,
    "induction": induction,
    "arithmetic_without_carry": arithmetic_without_carry,
    "arithmetic_with_carry": arithmetic_with_carry,
    "bracket_matching": bracket_matching,
} | {f"recall_{tokens}": _recall(tokens) for tokens in RECALL_TOKENS}
"""Task -> its items, from a seeded generator of random numbers and the number wanted."""
