"""Held-out token sequences for the comparison of two models."""

from __future__ import annotations

from pathlib import Path

from contracts.errors import InputError
from tasks.data import load_encoder, read_documents, sources_in

_SHORTEST = 32  # tokens; a shorter rest of a document would say little about long contexts


def sequences(curated: Path, tokenizer: Path, *, tokens: int, length: int) -> list[list[int]]:
    """Consecutive pieces of held-out documents, at most `length` tokens each, until every source has given `tokens` tokens.

    Raises:
        InputError: there is no held-out text.
    """
    encoder = load_encoder(tokenizer)
    found: list[list[int]] = []
    for source in sources_in(curated / "heldout"):
        taken = 0
        for document in read_documents(curated / "heldout", source):
            ids = [int(token) for token in encoder.encode(document.text)]
            for start in range(0, len(ids), length):
                piece = ids[start : start + min(length, tokens - taken)]
                if len(piece) >= min(_SHORTEST, length):
                    found.append(piece)
                    taken += len(piece)
            if tokens - taken < _SHORTEST:
                break
    if not found:
        raise InputError(
            "there is no held-out text to compare the models on", do="hold some out (data.sources.*.heldout)", where=str(curated)
        )
    return found
