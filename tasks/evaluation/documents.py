"""Held-out documents of one source, in a seeded order that does not depend on how the files are cut."""

from __future__ import annotations

import hashlib
from pathlib import Path

from contracts.errors import InputError
from tasks.data import read_documents


def heldout(curated: Path, source: str, *, seed: int, max_bytes: int, document_bytes: int | None = None) -> list[str]:
    """Held-out documents of `source` until `max_bytes` UTF-8 bytes are reached, each cut after `document_bytes`.

    Raises:
        InputError: the source has no held-out text.
    """
    chosen: list[str] = []
    total = 0
    ordered = sorted(read_documents(curated / "heldout", source), key=lambda d: hashlib.sha256(f"{seed} {d.id}".encode()).digest())
    for document in ordered:
        text = document.text if document_bytes is None else shorten(document.text, document_bytes)
        if not text.strip():
            continue
        chosen.append(text)
        total += len(text.encode())
        if total >= max_bytes:
            break
    if not chosen:
        raise InputError(f"source '{source}' has no held-out text", do="hold more of it out (data.sources.*.heldout)", where=str(curated))
    return chosen


def shorten(text: str, limit: int) -> str:
    """The beginning of `text`: at most `limit` UTF-8 bytes, ending after white space where there is any."""
    data = text.encode()
    if len(data) <= limit:
        return text
    cut = data[:limit].decode(errors="ignore")
    return cut[: max(cut.rfind("\n"), cut.rfind(" ")) + 1] or cut
