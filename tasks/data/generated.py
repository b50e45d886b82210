"""Generated reasoning text: questions with worked and with direct answers, for mid-training before any chat template.

What post-training can bring out must be there in the model, phrased as it will be asked: after text that put the same sums as
`47+85=132`, fine-tuning gave the form of an answer (1.00) and hardly an answer (0.18), at a million parameters.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from tasks.data.config import Acquisition
from tasks.data.documents import Document
from tasks.data.holdout import KEPT_ITEMS
from tasks.data.skills import Item, draw

VERSION = 1
"""Raised when the same settings make another text."""
WORKED_SHARE = 0.65
"""Share of the items that show their steps; the others say the answer at once, as a conversation without reasoning does."""
HELDOUT_TEXT = 0.05
"""Share of `max_bytes` that goes to documents of held-out items."""
_ITEMS = 8
"""Items in a document: about 230 tokens with single digits, so that a document fits a short sequence."""


def item_text(item: Item, worked: bool) -> str:
    """One item as text: question, steps and answer on lines of their own, or question and answer on one."""
    return f"{item.question}\n{item.steps}\n{item.said}" if worked else f"{item.question} {item.said}"


def generated_documents(source: Acquisition) -> Iterator[Document]:
    """Documents of a generated source, `max_bytes` of text in all: first those of held-out items, then those to train on.

    Held-out items stand in documents of their own, which `curate` always holds out; no other document has one.
    """
    whole = source.max_bytes or 0
    kept = round(HELDOUT_TEXT * whole)
    yield from _documents(source, kept, heldout=True)
    yield from _documents(source, whole - kept, heldout=False)


def _documents(source: Acquisition, budget: int, heldout: bool) -> Iterator[Document]:
    side = "heldout" if heldout else "trained"
    rng, skills, left, number = random.Random(f"{source.seed or 0} {side}"), source.skills or [], budget, 0
    while True:
        items = [draw(rng.choice(skills), rng, heldout) for _ in range(_ITEMS)]
        text = "\n".join(item_text(item, worked=rng.random() < WORKED_SHARE) for item in items)
        left -= len(text)
        if left < 0 and number:
            return
        name = f"{side}-{number:07d}"
        licence = "generated" if source.licence == "unknown" else source.licence
        yield Document(f"{source.name}/{name}", text, source.name, licence, name, KEPT_ITEMS if heldout else "items:trained")
        number += 1
