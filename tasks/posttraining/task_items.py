"""Items of evaluation tasks, found again in chat data: by an n-gram of words that is theirs, a short question by all of its words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tasks.data import HeldoutIndex, words_of

if TYPE_CHECKING:
    from tasks.evaluation import Question

SHORTEST = 5
"""Words of a question that is looked for as a whole; a shorter one (`415 + 274 =`) is common property, and is counted as not checked."""
COMMON = 0.02
"""What more than this share of a task's items says, and more than one, is its wording. Two or three questions on one passage stay below it,
and so do the eight variants that GSM-Plus has of a question."""


class TaskItems:
    """Recognises the items of tasks in whatever text they stand.

    Question and answer together are known by their runs of `n` words; a question of fewer words, but no fewer than five, also by itself,
    word for word. What stands in more than a fiftieth of a task's items is not taken for any of them. A short question inside a longer
    item (with its choices, under a passage) is not looked for alone.
    """

    def __init__(self, questions: Mapping[str, Sequence[Question]], n: int) -> None:
        """Take every task's questions, and the length of the n-grams in words."""
        self._indexes: dict[str, HeldoutIndex] = {}
        self._short: dict[tuple[str, ...], set[tuple[str, tuple[str, ...]]]] = {}
        self._table: dict[str, dict[str, int]] = {}
        for task, own in questions.items():
            index = self._indexes[task] = HeldoutIndex([f"{one.text}\n{one.answer}" for one in own], n, COMMON)
            words = [tuple(words_of(one.text)) for one in own]
            often = Counter(words)
            whole = [SHORTEST <= len(one) < n and often[one] <= max(1, COMMON * len(own)) for one in words]
            for one in {one for one, looked_for in zip(words, whole, strict=True) if looked_for}:
                self._short.setdefault(one[:SHORTEST], set()).add((task, one))
            checked = [known or short for known, short in zip(index.checked(), whole, strict=True)]
            self._table[task] = {"items": len(own), "not_checked": checked.count(False)}

    def table(self) -> dict[str, dict[str, int]]:
        """Task -> its `items`, and how many of them have nothing to be recognised by."""
        return self._table

    def given_away(self, text: str) -> list[str]:
        """Tasks of which an item stands in the text."""
        found = {task for task, index in self._indexes.items() if index.see(text)}
        words = words_of(text) if self._short else []
        for at in range(len(words) - SHORTEST + 1):
            for task, whole in self._short.get(tuple(words[at : at + SHORTEST]), ()):
                if tuple(words[at : at + len(whole)]) == whole:
                    found.add(task)
        return sorted(found)
