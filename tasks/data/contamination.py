"""n-gram contamination between held-out items and training text (words in lower case, punctuation ignored)."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_WORD = re.compile(r"\w+")
_FACTOR = np.uint64(0x9E3779B97F4A7C15)


class HeldoutIndex:
    """The n-grams of held-out items; `see` training text, then ask which items share an n-gram with any of it.

    n-grams are compared by 64-bit polynomial hashes of word numbers. Items shorter than n words cannot be checked and count as shared.

    Args:
        n: words of an n-gram.
        max_share: an n-gram of several items, and of more than this share of all, is nobody's: it is what stands around every item.
    """

    def __init__(self, items: Sequence[str], n: int, max_share: float = 1.0) -> None:
        self.n = n
        self._numbers: dict[str, int] = {}
        hashes: list[NDArray[np.uint64]] = []
        for item in items:
            words = words_of(item)
            for word in words:
                self._numbers.setdefault(word, len(self._numbers) + 1)
            hashes.append(self._hashes(words))
        self._short = [len(found) == 0 for found in hashes]
        self._owners = np.repeat(np.arange(len(items)), [len(found) for found in hashes])
        every = np.concatenate([np.empty(0, np.uint64), *hashes])
        self._known, self._where = np.unique(every, return_inverse=True)
        self._hit = np.zeros(len(self._known), dtype=bool)
        self._own = np.ones(len(self._known), dtype=bool)
        if max_share < 1 and items:
            holders = np.unique(self._where * len(items) + self._owners) // len(items)  # each item once
            self._own = np.bincount(holders, minlength=len(self._known)) <= max(1.0, max_share * len(items))

    def see(self, text: str) -> bool:
        """Mark the n-grams that `text` shares; True if there are any."""
        if not len(self._known):
            return False
        found = self._hashes(words_of(text))
        places = np.searchsorted(self._known, found)
        places[places == len(self._known)] = 0
        places = places[(self._known[places] == found) & self._own[places]]
        self._hit[places] = True
        return len(places) > 0

    def contaminated(self) -> list[bool]:
        """Per item: shares an n-gram with text seen so far, or is too short to tell."""
        shared = np.zeros(len(self._short), dtype=bool)
        shared[self._owners[self._hit[self._where]]] = True
        return [bool(a or b) for a, b in zip(shared, self._short, strict=True)]

    def checked(self) -> list[bool]:
        """Per item: has an n-gram by which it can be recognised."""
        known = np.zeros(len(self._short), dtype=bool)
        known[self._owners[self._own[self._where]]] = True
        return [bool(one) for one in known]

    def _hashes(self, words: list[str]) -> NDArray[np.uint64]:
        """Hashes of the windows of n words that are all known from held-out items."""
        get = self._numbers.get
        ids = np.fromiter((get(word, 0) for word in words), dtype=np.uint64, count=len(words))
        windows = len(ids) - self.n + 1
        if windows <= 0:
            return np.empty(0, np.uint64)
        unknown = np.concatenate(([0], np.cumsum(ids == 0)))
        whole = np.flatnonzero(unknown[self.n :] == unknown[: -self.n])
        if not len(whole):
            return np.empty(0, np.uint64)
        hashes = ids[whole]
        for offset in range(1, self.n):
            hashes = hashes * _FACTOR + ids[whole + offset]
        return hashes


def words_of(text: str) -> list[str]:
    """Words as they are compared: in lower case, without punctuation."""
    return _WORD.findall(text.lower())
