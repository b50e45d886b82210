"""Held-out documents, by source, in a seeded order that does not depend on how the files are cut."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from contracts.errors import InputError


def sources(curated: Path) -> list[str]:
    """Names of the sources with held-out text."""
    return sorted({path.stem.rsplit("-", 1)[0] for path in (curated / "heldout").glob("*.parquet")})


def texts(curated: Path, split: str, source: str | None = None) -> Iterator[str]:
    """Text of every document of a split (`train` or `heldout`), of one source or of all."""
    for _, text in _rows(curated, split, source):
        yield text


def heldout(curated: Path, source: str, *, seed: int, max_bytes: int, document_bytes: int | None = None) -> list[str]:
    """Held-out documents of `source` until `max_bytes` UTF-8 bytes are reached, each cut after `document_bytes`.

    Raises:
        InputError: the source has no held-out text.
    """
    chosen: list[str] = []
    total = 0
    ordered = sorted(_rows(curated, "heldout", source), key=lambda row: hashlib.sha256(f"{seed} {row[0]}".encode()).digest())
    for _, text in ordered:
        text = text if document_bytes is None else shorten(text, document_bytes)
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


def _rows(curated: Path, split: str, source: str | None) -> Iterator[tuple[str, str]]:
    import pyarrow.parquet as pq

    for path in sorted((curated / split).glob("*.parquet")):
        if source is not None and path.stem.rsplit("-", 1)[0] != source:
            continue
        for batch in pq.ParquetFile(path).iter_batches(columns=["id", "text"], batch_size=1024):
            yield from zip(batch.column("id").to_pylist(), batch.column("text").to_pylist(), strict=True)
