"""Token streams of the shards, as the trainer reads them."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contracts.errors import InputError

_MAGIC = b"MMIDIDX\x00\x00"
_DTYPES = {4: np.int32, 8: np.uint16}  # the codes of Megatron's index that can hold token ids


def describe(folder: Path) -> dict[str, Any]:
    """shards.json: vocabulary size, end-of-document token, counts by source."""
    return dict(json.loads((folder / "shards.json").read_text()))


def stream(folder: Path, source: str, limit: int) -> NDArray[np.integer]:
    """The first `limit` token ids of a source's training shard; shape [tokens].

    Raises:
        InputError: the index is not one of Megatron's, or of an element type that holds no token ids.
    """
    index = folder / f"{source}.idx"
    head = index.read_bytes()[:18] if index.is_file() else b""
    if len(head) < 18 or head[:9] != _MAGIC or head[17] not in _DTYPES or struct.unpack("<Q", head[9:17]) != (1,):
        raise InputError(f"'{index.name}' is not an index of token ids", do="run the stage tokenize again", where=str(folder))
    return np.memmap(folder / f"{source}.bin", dtype=_DTYPES[head[17]], mode="r")[:limit]
