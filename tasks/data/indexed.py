"""Megatron's indexed dataset on disk: `.bin` holds the tokens, `.idx` lengths, byte offsets and document ends.

The bytes equal those of `megatron.core.datasets.indexed_dataset.IndexedDatasetBuilder` with one sequence per document; whole batches are
appended at once, and both files appear only when they are complete.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from contracts.errors import InputError

_MAGIC = b"MMIDIDX\x00\x00"
_CODES: dict[int, Any] = {8: np.uint16, 4: np.int32}
_SMALL_VOCABULARY = 65_500


def token_dtype(vocab_size: int) -> Any:
    """uint16 below 65,500 tokens, else int32: Megatron's own boundary."""
    return np.uint16 if vocab_size < _SMALL_VOCABULARY else np.int32


class IndexedWriter:
    """Writes `<prefix>.bin` and `<prefix>.idx`; nothing under these names exists before a successful `close`. Counts `tokens`."""

    def __init__(self, prefix: Path, vocab_size: int) -> None:
        self.prefix = prefix
        self.dtype = token_dtype(vocab_size)
        self.tokens = 0
        self._lengths: list[int] = []
        prefix.parent.mkdir(parents=True, exist_ok=True)
        self._bin = open(f"{prefix}.bin.partial", "wb", buffering=1 << 22)  # noqa: SIM115, closed by close or abort

    def add(self, documents: Sequence[Any]) -> None:
        """Append documents, each an array of ids that ends with the end-of-document token."""
        if documents:
            self._bin.write(np.concatenate(documents).astype(self.dtype, copy=False).tobytes())
            self._lengths += [len(document) for document in documents]
            self.tokens += sum(map(len, documents))

    def close(self) -> None:
        """Write the index and give both files their names."""
        self._bin.close()
        lengths = np.array(self._lengths, dtype=np.int32)
        offsets = np.zeros(len(lengths), dtype=np.int64)
        np.cumsum(lengths[:-1].astype(np.int64) * np.dtype(self.dtype).itemsize, out=offsets[1:])
        code = next(code for code, dtype in _CODES.items() if dtype is self.dtype)
        with open(f"{self.prefix}.idx.partial", "wb") as index:
            index.write(_MAGIC + struct.pack("<QBQQ", 1, code, len(lengths), len(lengths) + 1))
            for part in (lengths, offsets, np.arange(len(lengths) + 1, dtype=np.int64)):
                index.write(part.tobytes())
        for suffix in (".bin", ".idx"):
            os.replace(f"{self.prefix}{suffix}.partial", f"{self.prefix}{suffix}")

    def abort(self) -> None:
        """Remove what was written so far."""
        self._bin.close()
        Path(f"{self.prefix}.bin.partial").unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()


def check_shard(prefix: Path) -> tuple[int, int]:
    """(documents, tokens) of a pair of files whose sizes agree with one another.

    Raises:
        InputError: a file that is missing, truncated, or no indexed dataset; names it.
    """
    index, tokens = Path(f"{prefix}.idx"), Path(f"{prefix}.bin")
    do = "run the stage `tokenize` again"
    for path in (index, tokens):
        if not path.is_file():
            raise InputError("the token file is missing", where=str(path), do=do)
    with index.open("rb") as handle:
        head = handle.read(len(_MAGIC) + 25)
        if len(head) < len(_MAGIC) + 25 or not head.startswith(_MAGIC):
            raise InputError("not the index of an indexed dataset, or cut short", where=str(index), do=do)
        _, code, sequences, documents = struct.unpack("<QBQQ", head[len(_MAGIC) :])
        expected = len(head) + sequences * 12 + documents * 8
        if code not in _CODES or index.stat().st_size != expected:
            raise InputError(f"the index has {index.stat().st_size:,} bytes instead of {expected:,}", where=str(index), do=do)
        lengths = np.frombuffer(handle.read(sequences * 4), dtype=np.int32)
    wanted = int(lengths.sum(dtype=np.int64)) * np.dtype(_CODES[code]).itemsize
    if tokens.stat().st_size != wanted:
        raise InputError(
            f"the file has {tokens.stat().st_size:,} bytes, its index says {wanted:,}: it is cut short", where=str(tokens), do=do
        )
    return documents - 1, int(lengths.sum(dtype=np.int64))
