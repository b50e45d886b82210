"""The stage `curate`: clean every source, drop exact duplicates, hold out whole groups before training, check for contamination."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from contracts.errors import InputError
from infra.job import Progress, Summary
from tasks.data.config import CurateConfig, Curation
from tasks.data.contamination import HeldoutIndex
from tasks.data.documents import COLUMNS, RAW_COLUMNS, Document, DocumentWriter, read_documents
from tasks.data.filters import failed_rule
from tasks.data.holdout import KEPT_ITEMS, Choice, choose, draw, share_across
from tasks.data.language import in_language, known_languages
from tasks.data.reflow import reflow
from tasks.data.skills import answered_in, heldout
from tasks.data.splitting import split_text

_SAMPLE = 400
_KEPT_SAMPLE = 300
_NOTE_EVERY = 500


@dataclass
class Tally:
    """What happened to one source's documents."""

    documents_in: int = 0
    bytes_in: int = 0
    removed: dict[str, int] = field(default_factory=dict)
    removed_bytes: dict[str, int] = field(default_factory=dict)
    samples: dict[str, list[str]] = field(default_factory=dict)
    groups: dict[str, int] = field(default_factory=dict)
    first: tuple[float, str] = (2.0, "")

    def keep(self, document: Document, drawn: float) -> None:
        """Count a document that stays."""
        self.groups[document.group] = self.groups.get(document.group, 0) + document.size
        self.first = min(self.first, (drawn, document.id))

    def remove(self, rule: str, text: str, samples: int) -> None:
        """Count a document that `rule` removed and keep the first few as examples."""
        self.removed[rule] = self.removed.get(rule, 0) + 1
        self.removed_bytes[rule] = self.removed_bytes.get(rule, 0) + len(text.encode("utf-8", "replace"))
        kept = self.samples.setdefault(rule, [])
        if len(kept) < samples:
            kept.append(text[:_SAMPLE])


def curate(config: CurateConfig, inputs: Mapping[str, Path], out: Path, progress: Progress) -> Summary:
    """Write `train/` and `heldout/` Parquet files per source to `out`.

    Raises:
        InputError: a source that lost all its documents, or a damaged input file.
    """
    _check_languages(config.sources)
    work = out / ".passed"
    tallies: dict[str, Tally] = {}
    seen: set[bytes] = set()
    steps = 2 * len(config.sources)
    for index, one in enumerate(config.sources):
        tallies[one.name] = _clean(one, config, inputs["source"], work, seen, partial(progress, index, steps))
    choices = {one.name: choose(one, tallies[one.name].groups, config.seed, tallies[one.name].first[1]) for one in config.sources}
    share_across(choices)
    table = _split(config, work, out, choices, lambda index, note: progress(len(config.sources) + index, steps, note))
    shutil.rmtree(work)
    for name, tally in tallies.items():
        table[name] = {
            "documents_in": tally.documents_in, "bytes_in": tally.bytes_in, "removed": tally.removed, "removed_bytes": tally.removed_bytes,
            "samples": tally.samples, "grouped_by": choices[name].grouped_by, **table[name],
        }  # fmt: skip
    return _summary(table, progress, steps)


def _summary(table: dict[str, Any], progress: Progress, steps: int) -> Summary:
    keys = ("documents", "bytes", "heldout_documents", "heldout_bytes", "contaminated")
    counts = {key: sum(int(entry[key]) for entry in table.values()) for key in keys}
    progress(steps, steps, f"{counts['documents']:,} documents, {counts['bytes'] / 1e6:.1f} MB; {counts['heldout_documents']:,} held out")
    return Summary(counts=counts, evidence={"sources": table})


def _check_languages(sources: Sequence[Curation]) -> None:
    for one in sources:
        if one.language is not None and one.language not in known_languages():
            raise InputError(
                f"language '{one.language}' is not among those that can be told apart: {', '.join(known_languages())}",
                where=f"data.sources.{one.name}.language", do="choose one of them, or null for any language",
            )  # fmt: skip


def _clean(one: Curation, config: CurateConfig, source: Path, work: Path, seen: set[bytes], note: Callable[[str], None]) -> Tally:
    """First pass: every rule on every document; what passes goes to `work`."""
    tally = Tally()
    with DocumentWriter(work, one.name, RAW_COLUMNS) as writer:
        for raw in read_documents(source, one.name):
            tally.documents_in += 1
            tally.bytes_in += raw.size
            if tally.documents_in % _NOTE_EVERY == 0:
                note(f"{one.name}: {tally.documents_in:,} documents read, {writer.documents:,} kept")
            for document in _pieces(one, raw):
                rule = _refusal(one, document, config, seen)
                if rule is not None:
                    tally.remove(rule, document.text, config.samples)
                    continue
                writer.add(document)
                tally.keep(document, draw(config.seed, document.id))
    if not writer.documents:
        raise InputError(
            f"no document of source '{one.name}' passed the filters (removed: {tally.removed})", where=f"data.sources.{one.name}.filters",
            do="loosen the filters named above, or give other text",
        )  # fmt: skip
    return tally


def _pieces(one: Curation, raw: Document) -> Iterator[Document]:
    """A raw document as one or more documents of the wanted length."""
    parts = split_text(raw.text, one.split_characters)
    for index, part in enumerate(parts):
        text = reflow(part) if one.reflow else part.strip("\n")
        name = f"~{index}" if len(parts) > 1 else ""
        yield raw._replace(id=raw.id + name, origin=raw.origin + name, text=text)


def _refusal(one: Curation, document: Document, config: CurateConfig, seen: set[bytes]) -> str | None:
    if one.keep < 1.0 and draw(config.seed, document.id) >= one.keep:
        return "not_drawn"
    if one.language is not None and not in_language(document.text, one.language):
        return "language"
    rule = failed_rule(document.text, one.filters)
    if rule is not None:
        return rule
    if config.heldout_skills and document.group != KEPT_ITEMS and _teaches_heldout(document.text, config.heldout_skills):
        return "heldout_item"
    key = hashlib.blake2b(" ".join(document.text.split()).encode("utf-8", "replace"), digest_size=16).digest()
    if key in seen:
        return "duplicate"
    seen.add(key)
    return None


def _teaches_heldout(text: str, skills: Sequence[str]) -> bool:
    return any(item.skill in skills and heldout(item) for item in answered_in(text))


def _split(config: CurateConfig, work: Path, out: Path, choices: Mapping[str, Choice], note: Callable[[int, str], None]) -> dict[str, Any]:
    """Second pass: training text to `train/`, clean held-out items to `heldout/`."""
    items = {one.name: list(_heldout_items(one, work, choices[one.name])) for one in config.sources}
    index = HeldoutIndex(
        [item.text for group in items.values() for item in group] if config.contamination_ngram else [], config.contamination_ngram
    )
    table: dict[str, Any] = {}
    for number, one in enumerate(config.sources):
        note(number, f"{one.name}: splitting off what is held out")
        kept: list[str] = []
        with DocumentWriter(out / "train", one.name) as writer:
            for document in read_documents(work, one.name):
                if not choices[one.name].holds(document.id, document.group):
                    index.see(document.text)
                    writer.add(document)
                    if len(kept) < config.samples:
                        kept.append(document.text[:_KEPT_SAMPLE])
        if not writer.documents:
            raise InputError(
                f"everything of source '{one.name}' would be held out",
                where=f"data.sources.{one.name}.heldout",
                do="hold out less, or give more text",
            )
        table[one.name] = {"documents": writer.documents, "bytes": writer.bytes, "kept": kept}
    shared = iter(index.contaminated())
    for one in config.sources:
        clean = [item for item in items[one.name] if not config.contamination_ngram or not next(shared)]
        with DocumentWriter(out / "heldout", one.name, COLUMNS) as writer:
            for item in clean:
                writer.add(item)
        table[one.name] |= {
            "heldout_documents": writer.documents, "heldout_bytes": writer.bytes, "contaminated": len(items[one.name]) - len(clean),
            "heldout_groups": sorted({item.group for item in items[one.name]}) if choices[one.name].groups else [],
        }  # fmt: skip
    return table


def _heldout_items(one: Curation, work: Path, choice: Choice) -> Iterator[Document]:
    left = one.heldout.max_bytes
    for document in read_documents(work, one.name):
        if not choice.holds(document.id, document.group):
            continue
        parts = split_text(document.text, one.heldout.item_characters)
        for number, part in enumerate(parts):
            name = f"~{number}" if len(parts) > 1 else ""
            item = document._replace(id=document.id + name, origin=document.origin + name, text=part.strip("\n"))
            if item.text.strip() and item.size <= left:
                left -= item.size
                yield item
