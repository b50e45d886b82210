"""Items that share an n-gram of words with training text, so that memory does not pass for skill."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from tasks.data import HeldoutIndex


def contaminated(items: Sequence[str], training: Iterable[str], n: int | None) -> list[bool]:
    """For each item: does any run of `n` words (lower case, punctuation ignored) occur in any training text?

    An item shorter than `n` words shares none by this definition: a sentence of ten words is common property.
    """
    found = [False] * len(items)
    checked = [number for number, item in enumerate(items) if n and len(re.findall(r"\w+", item)) >= n]
    if not checked or n is None:
        return found
    index = HeldoutIndex([items[number] for number in checked], n)
    for text in training:
        index.see(text)
    for number, shared in zip(checked, index.contaminated(), strict=True):
        found[number] = shared
    return found
