"""The stage `source`: copies every document that the recipe asks for, so that nothing outside the store can change a result later."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from contracts.errors import InputError
from infra.job import Progress, Summary
from tasks.data.config import Acquisition, SourceConfig
from tasks.data.documents import RAW_COLUMNS, Document, DocumentWriter
from tasks.data.embedded import embedded_documents, other_versions, versions
from tasks.data.files import file_documents
from tasks.data.generated import generated_documents
from tasks.data.huggingface import huggingface_documents
from tasks.data.snapshot import snapshot_digest

_NOTE_EVERY = 500


def source(config: SourceConfig, inputs: Mapping[str, Path], out: Path, progress: Progress) -> Summary:
    """Write the documents of every source to `out/<source>-NNNNN.parquet`.

    Raises:
        InputError: a source that is missing, damaged, unreachable or empty; names the file.
    """
    counts: dict[str, int] = {"documents": 0, "bytes": 0}
    table: dict[str, Any] = {}
    for index, one in enumerate(config.sources):
        entry = _copy(one, out, partial(progress, index, len(config.sources)))
        table[one.name] = entry
        counts["documents"] += entry["documents"]
        counts["bytes"] += entry["bytes"]
    progress(len(config.sources), len(config.sources), f"{counts['documents']:,} documents, {counts['bytes'] / 1e6:.1f} MB")
    return Summary(counts=counts, evidence={"sources": table, "snapshot": snapshot_digest(config)})


def _copy(one: Acquisition, out: Path, note: Callable[[str], None]) -> dict[str, Any]:
    empty = 0
    licences: dict[str, int] = {}
    with DocumentWriter(out, one.name, RAW_COLUMNS) as writer:
        for document in _limited(one, _documents(one)):
            if not document.text.strip():
                empty += 1
                continue
            writer.add(document)
            licences[document.licence] = licences.get(document.licence, 0) + 1
            if writer.documents % _NOTE_EVERY == 0:
                note(f"{one.name}: {writer.documents:,} documents, {writer.bytes / 1e6:.1f} MB")
    if not writer.documents:
        raise InputError(
            f"source '{one.name}' is empty" + (f" ({empty} blank documents)" if empty else ""),
            where=one.path or one.collection or one.name, do="give a source that holds text",
        )  # fmt: skip
    entry: dict[str, Any] = {"kind": one.kind, "documents": writer.documents, "bytes": writer.bytes, "blank": empty, "licences": licences}
    if one.kind == "embedded":
        entry |= {"packages": [list(pair) for pair in versions(one)], "other_versions": other_versions(one)}
    return entry


def _documents(one: Acquisition) -> Iterator[Document]:
    if one.kind == "published":
        raise InputError(
            f"source '{one.name}' is known by its published size only", where=one.name,
            do="give it a path (kind 'files' or 'huggingface') before running; it can be planned with --dry-run",
        )  # fmt: skip
    readers = {
        "embedded": embedded_documents, "files": file_documents, "huggingface": huggingface_documents, "generated": generated_documents,
    }  # fmt: skip
    return readers[one.kind](one)


def _limited(one: Acquisition, documents: Iterator[Document]) -> Iterator[Document]:
    """At most `max_bytes` of text; the last document is cut at a line end."""
    if one.max_bytes is None or one.kind in ("embedded", "generated"):  # these two keep within it themselves
        yield from documents
        return
    left = one.max_bytes
    for document in documents:
        if document.size > left:
            cut = document.text.encode("utf-8", "replace")[:left].decode("utf-8", "ignore")
            text = cut[: cut.rfind("\n") + 1] or cut
            yield document._replace(text=text)
            return
        left -= document.size
        yield document
