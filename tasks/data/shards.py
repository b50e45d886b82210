"""The stage `tokenize`: documents to Megatron's `.bin/.idx`, training and held-out text of every source."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np

from contracts.errors import InputError
from infra.job import Progress, Summary
from tasks.data.config import TokenizeConfig
from tasks.data.documents import Document, read_documents, sources_in
from tasks.data.encoder import Encoder, load_encoder
from tasks.data.indexed import IndexedWriter

_BATCH = 512


def tokenize(config: TokenizeConfig, inputs: Mapping[str, Path], out: Path, progress: Progress) -> Summary:
    """Write `<source>.bin/.idx`, `heldout/<source>.bin/.idx` and `shards.json` to `out`; each document ends with the end token.

    Raises:
        InputError: damaged documents or tokenizer, or a source without a single token.
    """
    encoder = load_encoder(inputs["tokenizer"], config.special_tokens_in_text, config.threads)
    folders = {"": inputs["curate"] / "train", "heldout_": inputs["curate"] / "heldout"}
    names = sources_in(folders[""])
    table: dict[str, dict[str, int]] = {}
    for index, name in enumerate(names):
        table[name] = {}
        for kind, folder in folders.items():
            prefix = out / ("heldout" if kind else "") / name
            counted = encode_source(encoder, folder, name, prefix, partial(progress, index, len(names)))
            table[name] |= {f"{kind}{key}": value for key, value in counted.items()}
        if not table[name]["tokens"]:
            raise InputError(f"source '{name}' has no tokens", where=str(folders[""]), do="run the stage `curate` again")
    shards = {"vocab_size": encoder.vocab_size, "eod": encoder.eod, "sources": table}
    (out / "shards.json").write_text(json.dumps(shards, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    counts = {key: sum(row[key] for row in table.values()) for key in next(iter(table.values()))}
    progress(len(names), len(names), f"{counts['tokens']:,} tokens, {counts['heldout_tokens']:,} held out")
    metrics = {f"bytes_per_token.{name}": round(row["bytes"] / row["tokens"], 4) for name, row in table.items()}
    return Summary(counts=counts, metrics=metrics, evidence={"sources": table, "fast": encoder.fast})


def encode_source(encoder: Encoder, folder: Path, name: str, prefix: Path, note: Callable[[str], None]) -> dict[str, int]:
    """Encode the documents of source `name` under `folder` into `<prefix>.bin/.idx`; its documents, bytes and tokens."""
    documents = size = spelled = 0
    end = np.array([encoder.eod], dtype=np.uint32)
    with IndexedWriter(prefix, encoder.vocab_size) as writer:
        for batch in _batches(read_documents(folder, name)):
            texts = [document.text for document in batch]
            writer.add([np.concatenate([ids, end]) for ids in encoder.encode_many(texts)])
            documents += len(batch)
            size += sum(document.size for document in batch)
            spelled += sum(map(encoder.spelled_out, texts))
            note(f"{name}: {documents:,} documents, {writer.tokens:,} tokens")
        tokens = writer.tokens
    return {"documents": documents, "bytes": size, "tokens": tokens, "special_tokens_in_text": spelled}


def _batches(documents: Iterator[Document]) -> Iterator[list[Document]]:
    kept = (document for document in documents if document.text)
    while batch := list(islice(kept, _BATCH)):
        yield batch
