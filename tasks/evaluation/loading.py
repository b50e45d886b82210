"""The converted model and its tokenizer, without remote code and without the network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contracts.errors import InputError


@dataclass(frozen=True)
class LoadedModel:
    """A causal language model ready for scoring."""

    model: Any
    """`transformers` model in evaluation mode."""
    tokenizer: Any
    """Its `transformers` tokenizer."""
    device: str
    """`cuda` where there is one, else `cpu`."""
    window: int
    """Longest sequence in tokens that it was built for."""
    end: int
    """Token that ends a document."""

    def encode(self, text: str) -> list[int]:
        """Token ids of `text` as it stands, nothing added."""
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])


def load(folder: Path, dtype: str) -> LoadedModel:
    """Load a Hugging Face folder.

    Raises:
        InputError: its tokenizer names no end-of-document token.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    device = "cuda" if torch.cuda.is_available() else "cpu"
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype), local_files_only=True, trust_remote_code=False)
    if tokenizer.eos_token_id is None:
        raise InputError("the tokenizer names no token that ends a document (eos_token)", do="name one in the tokenizer", where=str(folder))
    return LoadedModel(model.to(device).eval(), tokenizer, device, int(model.config.max_position_embeddings), int(tokenizer.eos_token_id))
