"""Chat data against what is held out: items of generated skills exactly, other held-out text by shared n-grams of words.

Smol Training Playbook, post-training data: decontaminate before training, against every benchmark that will be read later.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from tasks.data import HeldoutIndex, heldout, items_in, read_documents
from tasks.posttraining.conversation import Sample

Reason = Literal["heldout_item", "heldout_text"]


class Decontamination:
    """Says of each row whether it gives away something that is held out."""

    def __init__(self, texts: Iterable[str], n: int) -> None:
        """Take held-out texts, and the length of the n-grams in words (0: skills alone are checked)."""
        self._index = HeldoutIndex(list(texts) if n else [], n)

    @classmethod
    def against(cls, curated: Path | None, n: int) -> Decontamination:
        """Against the held-out documents of a `curate` artifact, where there is one."""
        return cls((document.text for document in read_documents(curated / "heldout")) if curated else (), n)

    def reason(self, samples: Iterable[Sample]) -> Reason | None:
        """Why a row must not be trained on; None where nothing speaks against it.

        An item of a skill is too short for an n-gram, so a held-out question is recognised as such, in whatever words it is put.
        """
        for sample in samples:
            if sample.malformed:
                continue  # the linter's matter
            text = "\n".join(f"{turn.reasoning}\n{turn.text}" for turn in sample.turns)
            if any(heldout(item) for item in items_in(text)):
                return "heldout_item"
            if self._index.see(text.replace("<think>", " ").replace("</think>", " ")):
                return "heldout_text"
        return None
