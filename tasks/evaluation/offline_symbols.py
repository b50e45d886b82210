"""Generated tasks of symbols: addition with and without carry, bracket matching."""

from __future__ import annotations

import random
from collections.abc import Iterator

from tasks.evaluation.offline_item import CHOICES, WORDS, Item, distinct

_CLOSING = {"(": ")", "[": "]", "{": "}", "<": ">"}
_TENS = ((5, 6, 7, 8), (6, 7, 8, 9))
"""Tens digits of the four choices. With these the operands' tens digits can always be drawn from the other six digits, so that no choice is
favoured or disfavoured by standing in the question."""


def arithmetic_without_carry(rng: random.Random, number: int) -> Iterator[Item]:
    """The sum of two numbers of three digits where no digit carries: the choices differ in the tens alone.

    At chance with 1.0 million parameters and 0.8 million tokens.
    """
    return distinct(lambda rng, label: _addition(rng, label, carry=False), rng, number)


def arithmetic_with_carry(rng: random.Random, number: int) -> Iterator[Item]:
    """The same sums, but the units carry into the tens; who forgets the carry picks a false one.

    It differs from `arithmetic_without_carry` in the carry alone, so the difference of the two is what the carry costs.
    At chance with 1.0 million parameters and 0.8 million tokens.
    """
    return distinct(lambda rng, label: _addition(rng, label, carry=True), rng, number)


def bracket_matching(rng: random.Random, number: int) -> Iterator[Item]:
    """Four kinds of brackets, each left open once and closed once: which must close first?

    Every kind is opened and closed equally often, and the last one opened is closed already: counting brackets does not help.
    At chance with 1.0 million parameters and 0.8 million tokens.
    """
    return distinct(_brackets, rng, number)


def _addition(rng: random.Random, label: int, *, carry: bool) -> Item:
    tens = list(rng.choice(_TENS))
    rng.shuffle(tens)
    hundreds = _split(rng, rng.randint(2, 9), [1, 2, 3, 4, 5, 6, 7, 8])
    units = _split(rng, rng.randint(10, 18) if carry else rng.randint(0, 9), list(range(10)))
    middle = _split(rng, tens[label] - carry, [digit for digit in range(10) if digit not in tens])
    one, other = (100 * h + 10 * t + u for h, t, u in zip(hundreds, middle, units, strict=True))
    choices = tuple(f" {100 * sum(hundreds) + 10 * ten + sum(units) % 10}" for ten in tens)
    return Item(f"{one} + {other} =", choices, label)


def _split(rng: random.Random, total: int, digits: list[int]) -> tuple[int, int]:
    """Two of `digits` whose sum is `total`."""
    return rng.choice([(one, total - one) for one in digits if total - one in digits])


def _brackets(rng: random.Random, label: int) -> Item:
    kinds = rng.sample(list(_CLOSING), CHOICES)
    asked = kinds[label]
    opened = [*rng.sample([kind for kind in kinds if kind != asked], CHOICES - 1), asked]
    closed = rng.sample(kinds, CHOICES)
    # Which gap of the open brackets each closed group falls into; the last group follows the last open bracket.
    gaps = [*sorted(rng.choices(range(CHOICES), k=CHOICES - 1)), CHOICES - 1]
    parts: list[str] = []
    for place, kind in enumerate(opened):
        parts.append(f"{kind} {rng.choice(WORDS)}")
        parts += [f"{group} {rng.choice(WORDS)} {_CLOSING[group]}" for group, gap in zip(closed, gaps, strict=True) if gap == place]
    return Item(" ".join(parts), tuple(f" {_CLOSING[kind]}" for kind in kinds), label)
