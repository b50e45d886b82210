"""A small Megatron model on one rank, the tokenizer craft's own tokenizer, held-out text, and an export of the model."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from models import (
    backend,  # noqa: F401  before megatron.core
    huggingface,
)
from models.config import ModelConfig
from tasks.conversion import export
from tasks.conversion.reference import Reference, megatron_embedding, megatron_logits
from tasks.conversion.tokenizer_files import TokenIds

TINY: dict[str, Any] = {
    "hidden_size": 64, "num_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2, "ffn_hidden_size": 128, "vocab_size": 512,
    "max_sequence_length": 128, "rope_theta": 50000.0, "no_rope_every": 4, "init_std": 0.1,
}  # fmt: skip


@dataclass(frozen=True)
class Exported:
    """A folder that passes the gate, and what it is compared with."""

    folder: Path
    reference: Reference

    def copy(self, to: Path) -> Path:
        """A copy to damage."""
        return Path(shutil.copytree(self.folder, to))


def model_of(**changes: Any) -> ModelConfig:
    return ModelConfig.parse(TINY | changes)


def build_chunk(model: ModelConfig, seed: int = 3) -> torch.nn.Module:
    """The whole model on this process's one rank, norms moved off their initial ones so that a wrong norm shows."""
    from models import build, parallel
    from models.layout import Layout
    from models.precision import Precision

    parallel.destroy(keep_processes=True)  # of the model built before
    parallel.initialise(Layout(), seed)
    chunk = build.build(model, Layout(), Precision(), model.max_sequence_length, seed=seed)[0]
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in chunk.parameters():
            if parameter.dim() == 1:
                parameter.copy_(torch.rand_like(parameter) + 0.5)
    return chunk


def export_chunk(
    chunk: torch.nn.Module, model: ModelConfig, tokenizer: Path, sequences: list[list[int]], out: Path, dtype: str
) -> Exported:
    from models import weights

    ids = TokenIds.of(tokenizer)
    config, generation = export.config_json(huggingface.config(model), ids, dtype), export.generation_config_json(ids)
    export.write(out, config, generation, weights.export([chunk], model), huggingface.shapes(model), tokenizer)
    reference = Reference(megatron_logits(chunk), megatron_embedding(chunk), sequences, config, generation, tokenizer)
    return Exported(out, reference)


def write_curated(folder: Path) -> Path:
    """Real text of the standard library, as the stage `curate` leaves it."""
    from pydoc_data.topics import topics

    from tasks.data.documents import Document, DocumentWriter

    texts = [text for _, text in sorted(topics.items())]
    for split, part in (("train", texts[::2]), ("heldout", texts[1::2])):
        with DocumentWriter(folder / split, "prose") as writer:
            for number, text in enumerate(part):
                writer.add(Document(f"{split}/{number}", text, "prose", "PSF-2.0", "python"))
    return folder


def write_tokenizer(folder: Path, curated: Path) -> Path:
    """A tokenizer by the stage's own body."""
    from tasks.data import tokenizer
    from tasks.data.config import TokenizerConfig

    folder.mkdir()
    tokenizer(TokenizerConfig(vocab_size=TINY["vocab_size"], train_bytes=200_000), {"curate": curated}, folder, lambda *_: None)
    return folder


def edit_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
