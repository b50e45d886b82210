"""Repetition inside a document (Gopher, Rae et al. 2021, table A1): repeated lines and paragraphs, frequent and repeated n-grams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_ONE = np.uint64(1)
Hashes = NDArray[np.uint64]
Lengths = NDArray[np.int64]


def repeated(parts: Sequence[str]) -> tuple[int, int]:
    """(how many of `parts` repeat an earlier one, their characters)."""
    seen: set[str] = set()
    count = characters = 0
    for part in parts:
        if part in seen:
            count += 1
            characters += len(part)
        else:
            seen.add(part)
    return count, characters


def failed_ngram(words: Sequence[str], characters: int, top: Mapping[int, float], duplicate: Mapping[int, float]) -> str | None:
    """The first n-gram rule that the words break ('max_top_ngram' or 'max_duplicate_ngrams'), or None.

    `top[n]` bounds the characters of the most frequent n-gram times its count, `duplicate[n]` those inside n-grams seen before (without
    overlap), both as a share of `characters`. n-grams are compared by 64-bit polynomial hashes of word numbers.
    """
    if len(words) < 2 or not (top or duplicate):
        return None
    numbers: dict[str, int] = {}
    ids = np.fromiter((numbers.setdefault(word, len(numbers)) for word in words), dtype=np.uint64, count=len(words)) + _ONE
    ends = np.concatenate(([0], np.cumsum(np.fromiter(map(len, words), dtype=np.int64, count=len(words)))))
    hashes = ids
    for n in range(2, max([*top, *duplicate]) + 1):
        if len(words) < n:
            return None
        hashes = hashes[: len(words) - n + 1] * _FACTOR + ids[n - 1 :]
        lengths = ends[n:] - ends[:-n]
        if n in top and _top_characters(hashes, lengths + (n - 1)) > top[n] * characters:
            return "max_top_ngram"
        if n in duplicate:
            ordered = np.sort(hashes)
            repeats = int((ordered[1:] == ordered[:-1]).sum())
            if repeats == 0:
                return None  # no repeated n-gram, hence no longer one either
            limit = duplicate[n] * characters
            if repeats * int(lengths.max()) > limit and _duplicate_characters(hashes, lengths, n, limit) > limit:
                return "max_duplicate_ngrams"
    return None


def _top_characters(hashes: Hashes, lengths: Lengths) -> int:
    """Characters of the most frequent n-gram times its count; the first of several equally frequent ones."""
    order = np.argsort(hashes, kind="stable")
    ordered = hashes[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    counts = np.diff(np.append(starts, len(ordered)))
    most = int(counts.max())
    first = int(order[starts[counts == most]].min())
    return int(lengths[first]) * most if most > 1 else 0


def _duplicate_characters(hashes: Hashes, lengths: Lengths, n: int, limit: float) -> int:
    """Characters in n-grams seen before, walking without overlap; stops once above `limit`."""
    seen: set[int] = set()
    values = hashes.tolist()
    total = index = 0
    while index < len(values) and total <= limit:
        if values[index] in seen:
            total += int(lengths[index])
            index += n
        else:
            seen.add(values[index])
            index += 1
    return total
