"""What of a tokenizer folder belongs to a model: its files, and the ids that the model's config repeats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from contracts.config import Config
from contracts.errors import InputError

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
)
"""Files that transformers reads; tables that the tokenizer's stage adds for a reader are not among them."""


class TokenIds(Config):
    """Ids of the tokens with a meaning for generation."""

    bos: int | None
    """Begins a text; none where texts just begin."""
    eos: int | None
    """Ends a text."""
    pad: int | None
    """Fills a batch."""

    @classmethod
    def of(cls, folder: Path) -> TokenIds:
        """Read them from a tokenizer folder.

        Raises:
            InputError: no token ends a text, so generation could never stop.
        """
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        if tokenizer.eos_token_id is None:
            raise InputError("the tokenizer names no token that ends a text (eos_token)", do="name one in the tokenizer", where=str(folder))
        return cls(bos=tokenizer.bos_token_id, eos=tokenizer.eos_token_id, pad=tokenizer.pad_token_id)

    def fields(self) -> dict[str, Any]:
        """As keys of config.json and generation_config.json."""
        return {"bos_token_id": self.bos, "eos_token_id": self.eos, "pad_token_id": self.pad}
