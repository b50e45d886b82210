"""Real text from the standard library, a tokenizer, shards written by Megatron, and an untrained model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

PROSE, CODE = "prose", "code"
VOCAB = 512


@dataclass(frozen=True)
class Line:
    """Folders as the stages before leave them."""

    curate: Path
    tokenize: Path
    model: Path

    @property
    def inputs(self) -> dict[str, Path]:
        return {"curate": self.curate, "tokenize": self.tokenize, "model": self.model}


def corpus() -> dict[str, list[str]]:
    """Prose: the language reference that pydoc brings. Code: modules of the standard library."""
    import json as package
    from pydoc_data.topics import topics

    folder = Path(package.__file__).parent.parent
    code = [path.read_text() for name in ("json", "email", "logging") for path in sorted((folder / name).glob("*.py"))]
    return {PROSE: [text for _, text in sorted(topics.items())], CODE: code}


def write_curated(folder: Path, split: str, documents: dict[str, Sequence[str]]) -> None:
    (folder / split).mkdir(parents=True, exist_ok=True)
    for source, texts in documents.items():
        rows = [{"id": f"{source}/{n}", "text": t, "source": source, "licence": "PSF-2.0", "origin": "python"} for n, t in enumerate(texts)]
        pq.write_table(pa.Table.from_pylist(rows), folder / split / f"{source}-00000.parquet")


def train_tokenizer(texts: Sequence[str]) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB, special_tokens=["<|endoftext|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>")


def write_shards(folder: Path, tokenizer: Any, documents: dict[str, Sequence[str]]) -> None:
    import torch

    from models import backend  # noqa: F401  before megatron.core

    # isort: split
    from megatron.core.datasets.indexed_dataset import IndexedDatasetBuilder

    folder.mkdir(parents=True)
    for source, texts in documents.items():
        builder = IndexedDatasetBuilder(str(folder / f"{source}.bin"), dtype=np.uint16)
        for text in texts:
            ids = [*tokenizer(text)["input_ids"], tokenizer.eos_token_id]
            builder.add_document(torch.tensor(ids), [len(ids)])
        builder.finalize(str(folder / f"{source}.idx"))
    described = {"vocab_size": VOCAB, "eod": tokenizer.eos_token_id, "sources": {source: {} for source in documents}}
    (folder / "shards.json").write_text(json.dumps(described))


def write_model(folder: Path, tokenizer: Any, scale: float = 0.02) -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=VOCAB, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=128, tie_word_embeddings=True, initializer_range=scale, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
