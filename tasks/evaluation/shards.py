"""Token streams of the shards, as the trainer reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.data import check_shard


def describe(folder: Path) -> dict[str, Any]:
    """shards.json: vocabulary size, end-of-document token, counts by source."""
    return dict(json.loads((folder / "shards.json").read_text()))


def stream(folder: Path, source: str, limit: int) -> NDArray[np.integer]:
    """The first `limit` token ids of a source's training shard; shape [tokens].

    Raises:
        InputError: the shard is missing, truncated, or none of Megatron's.
    """
    _, tokens = check_shard(folder / source)
    path = folder / f"{source}.bin"
    wide = path.stat().st_size > 2 * tokens  # two or four bytes a token
    return np.memmap(path, dtype=np.int32 if wide else np.uint16, mode="r")[:limit] if tokens else np.empty(0, np.uint16)
