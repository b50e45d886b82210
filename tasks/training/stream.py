"""A source's token stream: its documents end to end, read in windows from Megatron's `.bin/.idx` without loading it."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contracts.errors import InputError

_DO = "run the stage `tokenize` again"


@dataclass(frozen=True)
class Shards:
    """What shards.json says of a folder of token shards."""

    folder: Path
    vocab_size: int
    eod: int
    sources: dict[str, dict[str, int]]

    @classmethod
    def open(cls, folder: Path) -> Shards:
        """Read shards.json.

        Raises:
            InputError: it is missing or says less than it must.
        """
        path = folder / "shards.json"
        try:
            data = json.loads(path.read_text())
            return cls(folder, int(data["vocab_size"]), int(data["eod"]), dict(data["sources"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"shards.json cannot be read: {error!r}", where=str(path), do=_DO) from None

    def stream(self, source: str) -> TokenStream:
        """The training text of `source`."""
        return TokenStream(self.folder / source)

    def heldout(self, source: str) -> TokenStream:
        """The held-out text of `source`."""
        return TokenStream(self.folder / "heldout" / source)


class TokenStream:
    """One `.bin/.idx` pair as one long sequence of tokens, memory-mapped by Megatron's IndexedDataset."""

    def __init__(self, prefix: Path) -> None:
        """Open `prefix`.bin and `prefix`.idx.

        Raises:
            InputError: a file is missing, cut short, or not Megatron's; found without reading the tokens.
        """
        from models import backend as _backend  # noqa: F401  before megatron.core

        # isort: split
        from megatron.core.datasets.indexed_dataset import IndexedDataset

        self.prefix, tokens = prefix, Path(f"{prefix}.bin")
        for path in (tokens, Path(f"{prefix}.idx")):
            if not path.is_file():
                raise InputError("the token file is missing", where=str(path), do=_DO)
        try:
            self._dataset = IndexedDataset(str(prefix), mmap=True)
            index = self._dataset.index
            lengths, pointers, width = index.sequence_lengths, index.sequence_pointers, int(index.dtype_size)
            wanted = int(pointers[-1]) + int(lengths[-1]) * width if len(lengths) else 0
        except (AssertionError, ValueError, OSError, struct.error) as error:
            raise InputError(f"the index is cut short or is not Megatron's: {error}", where=f"{prefix}.idx", do=_DO) from None
        size = tokens.stat().st_size
        if size != wanted:
            raise InputError(
                f"the file has {size:,} bytes, its index says {wanted:,}: it is {'cut short' if size < wanted else 'not its own'}",
                where=str(tokens),
                do=_DO,
            )
        self.tokens = wanted // width

    def windows(self, indices: Iterable[int], sequence_length: int) -> NDArray[np.int64]:
        """Windows of sequence_length + 1 tokens; window i begins at token i x sequence_length. Shape [number, sequence_length + 1]."""
        read, span = self._dataset.get, sequence_length + 1
        return np.stack([read(0, int(i) * sequence_length, span) for i in indices]).astype(np.int64)

    def count(self, sequence_length: int) -> int:
        """How many windows it holds.

        Raises:
            InputError: not even one.
        """
        number = (self.tokens - 1) // sequence_length
        if number < 1:
            raise InputError(
                f"the source has {self.tokens:,} tokens, and one sequence needs {sequence_length + 1:,}",
                where=str(self.prefix),
                do="add text to the source, take it out of the mixture, or shorten the phase's sequence_length",
            )
        return number
