"""Data craft: sources, filters, deduplication, held-out split, tokenizer, token shards.

Names are imported when they are first used, so that `tasks.data.config` stays light.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.lazy import offered

if TYPE_CHECKING:
    from tasks.data.acquisition import source
    from tasks.data.contamination import HeldoutIndex, words_of
    from tasks.data.curation import curate
    from tasks.data.documents import Document, read_documents, sources_in
    from tasks.data.encoder import Encoder, load_encoder
    from tasks.data.gates import data_problems, tokenizer_problems
    from tasks.data.indexed import check_shard
    from tasks.data.shards import tokenize
    from tasks.data.skills import SKILLS, Item, Side, draw, heldout, heldout_items, items_in, require_skill, side_of
    from tasks.data.snapshot import snapshot_digest, tokenizer_digest
    from tasks.data.vocabulary import split_pattern, tokenizer

__all__ = [
    "SKILLS",
    "Document",
    "Encoder",
    "HeldoutIndex",
    "Item",
    "Side",
    "check_shard",
    "curate",
    "data_problems",
    "draw",
    "heldout",
    "heldout_items",
    "items_in",
    "load_encoder",
    "read_documents",
    "require_skill",
    "side_of",
    "snapshot_digest",
    "source",
    "sources_in",
    "split_pattern",
    "tokenize",
    "tokenizer",
    "tokenizer_digest",
    "tokenizer_problems",
    "words_of",
]

_HOMES = {
    "Document": "documents",
    "Encoder": "encoder",
    "HeldoutIndex": "contamination",
    "Item": "skills",
    "SKILLS": "skills",
    "Side": "skills",
    "check_shard": "indexed",
    "curate": "curation",
    "data_problems": "gates",
    "draw": "skills",
    "heldout": "skills",
    "heldout_items": "skills",
    "items_in": "skills",
    "load_encoder": "encoder",
    "read_documents": "documents",
    "require_skill": "skills",
    "side_of": "skills",
    "snapshot_digest": "snapshot",
    "source": "acquisition",
    "sources_in": "documents",
    "split_pattern": "vocabulary",
    "tokenize": "shards",
    "tokenizer": "vocabulary",
    "tokenizer_digest": "snapshot",
    "tokenizer_problems": "gates",
    "words_of": "contamination",
}

__getattr__ = offered(__name__, _HOMES)
