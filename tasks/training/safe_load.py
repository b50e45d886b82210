"""Reading a distributed checkpoint without running what it says: only the classes that megatron-core itself writes are unpickled.

A torch_dist folder holds pickles in three places: `.metadata`, `common.pt`, and the object shards inside the `.distcp` files. The store
has verified their hashes before they come here; this is the second lock, for a checkpoint whose manifest was forged with it.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import torch
from torch.distributed.checkpoint import filesystem
from torch.distributed.checkpoint.api import CheckpointException

from contracts.errors import IntegrityError

_CHECKPOINT = "torch.distributed.checkpoint"
_ALLOWED = {
    f"{_CHECKPOINT}.metadata": {
        "BytesStorageMetadata",
        "ChunkStorageMetadata",
        "Metadata",
        "MetadataIndex",
        "StorageMeta",
        "TensorProperties",
        "TensorStorageMetadata",
        "_MEM_FORMAT_ENCODING",
    },
    f"{_CHECKPOINT}.planner": {"SavePlan", "TensorWriteData", "WriteItem", "WriteItemType"},
    f"{_CHECKPOINT}.filesystem": {"_StorageInfo", "_StoragePrefix"},
    "torch": {"Size", "bfloat16", "float16", "float32", "float64", "int32", "int64", "uint8", "bool"},
    "torch.serialization": {"_get_layout"},
    "collections": {"OrderedDict"},
}
"""Module -> names that a checkpoint's metadata consists of."""


class _MetadataUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if name not in _ALLOWED.get(module, ()):
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no checkpoint consists of")
        return super().find_class(module, name)


class _MetadataPickle:
    """Stands in for the pickle module inside torch's file reader."""

    dump = staticmethod(pickle.dump)

    @staticmethod
    def load(file: IO[bytes]) -> Any:
        return _MetadataUnpickler(file).load()


@contextmanager
def allow_list(where: str) -> Iterator[None]:
    """While it is open, every pickle of a distributed checkpoint that this process reads goes through the allow-list.

    Args:
        where: the checkpoint, for the message.

    Raises:
        IntegrityError: something in the checkpoint asked for code or classes outside the list; nothing of it was run.
    """
    whole_load, listed = torch.load, torch.serialization.get_safe_globals()

    def tensors_only(file: str | io.BytesIO, *args: Any, **kwargs: Any) -> Any:
        return whole_load(file, *args, **(kwargs | {"weights_only": True}))

    torch.serialization.clear_safe_globals()
    torch.load, filesystem.pickle = tensors_only, _MetadataPickle  # type: ignore[assignment, attr-defined]
    try:
        yield
    except (Exception, CheckpointException) as error:  # the latter is no Exception
        reason = _refusal(error)
        if reason is None:
            raise
        raise IntegrityError(
            f"the checkpoint holds a pickle that is none of megatron-core's, and it was not run: {reason}",
            where=where,
            do="do not use this checkpoint; find out who wrote it, and train on from an earlier one",
        ) from error
    finally:
        torch.load, filesystem.pickle = whole_load, pickle  # type: ignore[attr-defined]
        torch.serialization.add_safe_globals(listed)


def causes(error: BaseException) -> list[BaseException]:
    """`error`, what it came from, and what failed on other ranks, as far as it says so."""
    found: list[BaseException] = [error]
    for one in (error.__cause__, error.__context__):
        found += causes(one) if one is not None else []
    if isinstance(error, CheckpointException):
        found += [wrapped[0] for wrapped in error.failures.values()]
    return found


def _refusal(error: BaseException) -> str | None:
    """The unpickler's own words, from wherever torch's collectives wrapped them."""
    for one in causes(error):
        if isinstance(one, pickle.UnpicklingError):
            return " ".join(str(one).split())[:300]
    return None
