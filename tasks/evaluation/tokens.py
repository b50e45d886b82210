"""Text to token ids and back, by the tokenizer that the model was trained with."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from tasks.data import load_encoder


class TextTokenizer:
    """A tokenizer folder through the `tokenizers` library alone: `transformers` would take a second to import."""

    def __init__(self, folder: Path) -> None:
        """Read it.

        Raises:
            InputError: no readable fast tokenizer there, or none that names a token that ends a document.
        """
        from tokenizers import Tokenizer

        self.end = load_encoder(folder).eod
        self._fast = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.digest = hashlib.sha256((folder / "tokenizer.json").read_bytes()).hexdigest()[:16]

    def encode(self, text: str) -> list[int]:
        """Token ids of `text` as it stands, nothing added."""
        return list(self._fast.encode(text, add_special_tokens=False).ids)

    def encode_scored(self, text: str) -> tuple[list[int], int]:
        """Token ids of `text`, and the UTF-8 bytes of all tokens but the first."""
        encoded = self._fast.encode(text, add_special_tokens=False)
        first = encoded.offsets[0][1] if encoded.ids else 0
        return list(encoded.ids), len(text[first:].encode())

    def decode(self, ids: Sequence[int], special: bool = False) -> str:
        """The text of `ids`, special tokens left out unless they are wanted."""
        return str(self._fast.decode(list(ids), skip_special_tokens=not special))
