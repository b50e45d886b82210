"""Items that share an n-gram of words with training text, so that memory does not pass for skill."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

_WORD = re.compile(r"\w+")


def contaminated(items: Sequence[str], training: Iterable[str], n: int | None) -> list[bool]:
    """For each item: does any run of `n` words (at least 2; lower case, punctuation ignored) occur in any training text?

    An item shorter than `n` words shares none by this definition (the usual one of 13-gram decontamination).
    """
    found = [False] * len(items)
    owners: dict[tuple[str, ...], set[int]] = {}
    for number, item in enumerate(items if n else ()):
        for gram in _grams(_WORD.findall(item.lower()), n or 0):
            owners.setdefault(gram, set()).add(number)
    starts = {gram[:2] for gram in owners}  # most positions are ruled out by two words, without building the whole n-gram
    for text in training if owners else ():
        words = _WORD.findall(text.lower())
        for position, pair in enumerate(pairwise(words)):
            if pair in starts:
                for number in owners.get(tuple(words[position : position + (n or 0)]), ()):
                    found[number] = True
    return found


def _grams(words: list[str], n: int) -> Iterator[tuple[str, ...]]:
    return (tuple(words[i : i + n]) for i in range(len(words) - n + 1))
