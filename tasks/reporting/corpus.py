"""From what the data stages left (manifests of curate, tokenizer, tokenize; documents) to the page's view."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.reporting.view import PhaseCurve, Removal, SourceView

CHARACTERS = 320


def sources(manifests: Mapping[str, Mapping[str, Any]], phases: list[PhaseCurve]) -> list[SourceView]:
    """One row per source: read, removed, kept, held out, in tokens, and how often it was read."""
    curated = _table(manifests, "curate")
    shards = _table(manifests, "tokenize")
    return [_source(name, row, shards.get(name, {}), phases) for name, row in curated.items()]


def tokenizer(manifests: Mapping[str, Mapping[str, Any]], config: Mapping[str, Any]) -> dict[str, str]:
    """Facts of the tokenizer: vocabulary, digit policy, fit to each source, reserved tokens."""
    manifest = manifests.get("tokenizer")
    if not manifest:
        return {}
    facts = {"vocabulary": f"{int(config['vocab_size']):,} tokens", "origin": str(config.get("path") or "trained on this recipe's text")}
    if not config.get("path"):
        facts["digits"] = str(config.get("digits", "")).replace("_", " ")
        facts["reserved tokens"] = " ".join([*config.get("special_tokens", []), *config.get("plain_tokens", [])])
    for name, row in _table(manifests, "tokenizer").items():
        facts[f"fit to {name}"] = f"{row['bytes_per_token']:.2f} bytes per token, {row['fertility']:.2f} tokens per word"
    longest = [str(token).replace(" ", "␣") for token in manifest.get("evidence", {}).get("longest_tokens", []) if str(token).strip()]
    if longest:
        facts["longest tokens"] = " ".join(longest[:12])
    return facts


def _table(manifests: Mapping[str, Mapping[str, Any]], stage: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = manifests.get(stage, {}).get("evidence", {}).get("sources", {})
    return found


def _source(name: str, row: Mapping[str, Any], shards: Mapping[str, Any], phases: list[PhaseCurve]) -> SourceView:
    tokens = int(shards.get("tokens", 0))
    lost = row.get("removed_bytes", {})
    removed = [
        Removal(
            name=str(rule),
            documents=int(count),
            bytes=int(lost.get(rule, 0)),
            samples=[_begin(t) for t in row.get("samples", {}).get(rule, [])],
        )
        for rule, count in sorted(row.get("removed", {}).items(), key=lambda item: -lost.get(item[0], item[1]))
    ]
    if row.get("contaminated"):
        removed.append(Removal(name="held-out text that training shares", documents=int(row["contaminated"])))
    return SourceView(
        name=name,
        documents_in=int(row.get("documents_in", 0)),
        bytes_in=int(row.get("bytes_in", 0)),
        documents=int(row.get("documents", 0)),
        bytes=int(row.get("bytes", 0)),
        tokens=tokens,
        heldout_documents=int(row.get("heldout_documents", 0)),
        heldout_bytes=int(row.get("heldout_bytes", 0)),
        heldout_tokens=int(shards.get("heldout_tokens", 0)),
        epochs=_epochs(name, tokens, phases),
        removed=removed,
        samples=[_begin(text) for text in row.get("kept", [])],
    )


def _epochs(name: str, tokens: int, phases: list[PhaseCurve]) -> float | None:
    """As the trainer counted it, else from the mixtures; None where nothing was trained."""
    if not phases:
        return None
    if phases[-1].epochs:
        return phases[-1].epochs.get(name, 0.0)
    read = sum(phase.mixture.get(name, 0.0) / sum(phase.mixture.values()) * (phase.end_tokens - phase.start_tokens) for phase in phases)
    return read / tokens if tokens else None


def _begin(text: str) -> str:
    return text[:CHARACTERS] + ("…" if len(text) > CHARACTERS else "")
