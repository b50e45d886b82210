"""Generated skills: questions whose answers a machine can check, with items that no training text ever shows.

Two-digit sums are worked column by column; strings of four or five digits are reversed. At a million parameters these two are what
post-training can be seen to shape: phrased alike in mid-training and in conversations, a model learns them in a million tokens.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

from contracts.config import nearest
from contracts.errors import ConfigError

Side = Literal["validation", "test"]
"""Held-out items that steer decisions (gates, merges), and those that are read once, at release."""
HELDOUT_SHARE = 0.15
"""Share of the items that is kept for measuring: of 4,095 different sums 566, half of them on each side, each asked in both orders."""
_BUCKETS = 1000
_SUM = re.compile(r"(\d\d)(?<![\d+]\d\d)\s*\+\s*(\d\d)(?![\d+])")
_REVERSAL = re.compile(r"[Rr]everse(?<!\w[Rr]everse):?\s+(\d{4,5})(?!\d)")
# What stands before is looked at last: so both search 12 MB of text in half a second, one pattern that looks first takes two.
_NEARBY = 200


class Item(NamedTuple):
    """One question with its answer."""

    skill: str
    question: str
    """As it is asked, in mid-training text and in conversations alike: `What is 47+85?`."""
    answer: str
    """Exact, digits alone: `132`."""
    steps: str
    """The worked way to the answer, one step a line: `7+5=12`, `4+8+1=13`."""
    key: str
    """What the item is about: items that give each other away (47+85 and 85+47) share it."""

    @property
    def said(self) -> str:
        """The answer as a sentence, the same one in text and in conversations: `The answer is 132.`."""
        return f"The answer is {self.answer}."


def heldout(item: Item) -> bool:
    """Whether an item is kept for measuring, decided by a hash of its key alone: the same for every stage, seed and recipe."""
    return _kept(item.key)


def draw(skill: str, rng: random.Random, heldout: bool) -> Item:
    """A random item of a skill: a held-out one, or one that may be trained on.

    Raises:
        ConfigError: no such skill.
    """
    make = _maker(skill)
    while True:
        item = make(rng)
        if _kept(item.key) == heldout:
            return item


def heldout_items(skill: str, count: int, seed: int, side: Side = "validation") -> list[Item]:
    """`count` different held-out questions of one side, the same for the same seed; a larger count begins with those of a smaller one.

    Raises:
        ConfigError: no such skill, or one that has fewer of them.
    """
    rng, found = random.Random(f"{skill} {seed}"), dict[str, Item]()
    for _ in range(16 * count + 1000):
        if len(found) == count:
            break
        item = draw(skill, rng, heldout=True)
        if side_of(item) == side:
            found.setdefault(item.question, item)
    if len(found) < count:
        said = f"skill '{skill}' has {len(found)} held-out items for {side}, {count} were asked for"
        raise ConfigError(said, do=f"ask for at most {len(found)}")
    return list(found.values())


def side_of(item: Item) -> Side:
    """Which side a held-out item is on, by another hash of its key."""
    return "test" if _number(f"side {item.key}") % 2 else "validation"


def items_in(text: str) -> Iterator[Item]:
    """Items of known skills that a text asks for, however it puts the question: `12+34`, `12 + 34`, `reverse: 9420`."""
    return (item for item, _ in _asked(text))


def answered_in(text: str) -> Iterator[Item]:
    """Those of `items_in` whose answer stands within 200 characters of the question, as a number of its own: text that teaches them."""
    for item, found in _asked(text):
        near = text[max(0, found.start() - _NEARBY) : found.end() + _NEARBY]
        if re.search(rf"(?<!\d){item.answer}(?!\d)", near):
            yield item


def require_skill(skill: str, where: str = "") -> None:
    """Refuse a skill that nobody generates.

    Raises:
        ConfigError: names the ones there are.
    """
    if skill not in SKILLS:
        raise ConfigError(f"no generated skill '{skill}'{nearest(skill, list(SKILLS))}", where=where, do=f"name one of {', '.join(SKILLS)}")


def addition(a: int, b: int) -> Item:
    """The sum of two numbers below 100, units first, then tens with what is carried."""
    units, tens = a % 10 + b % 10, a // 10 + b // 10
    carried = units // 10
    steps = f"{a % 10}+{b % 10}={units}\n{a // 10}+{b // 10}+{carried}={tens + carried}"
    return Item("add", f"What is {a}+{b}?", str(a + b), steps, f"add {min(a, b)} {max(a, b)}")


def reversal(digits: str) -> Item:
    """A string of digits, last one first; worked digit by digit."""
    turned = digits[::-1]
    return Item("reverse", f"Reverse {digits}.", turned, " ".join(turned), f"reverse {min(digits, turned)}")


def _asked(text: str) -> Iterator[tuple[Item, re.Match[str]]]:
    for found in _SUM.finditer(text):
        a, b = map(int, found.groups())
        if min(a, b) >= 10:
            yield addition(a, b), found
    for found in _REVERSAL.finditer(text):
        yield reversal(found.group(1)), found


def _random_addition(rng: random.Random) -> Item:
    return addition(rng.randint(10, 99), rng.randint(10, 99))


def _random_reversal(rng: random.Random) -> Item:
    return reversal("".join(rng.choice("0123456789") for _ in range(rng.choice((4, 5)))))


SKILLS: dict[str, Callable[[random.Random], Item]] = {"add": _random_addition, "reverse": _random_reversal}
"""Skill -> what draws an item of it, held out or not."""


def _maker(skill: str) -> Callable[[random.Random], Item]:
    require_skill(skill)
    return SKILLS[skill]


def _kept(key: str) -> bool:
    return _number(key) % _BUCKETS < HELDOUT_SHARE * _BUCKETS


def _number(key: str) -> int:
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big")
