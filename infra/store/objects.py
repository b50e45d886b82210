"""The few operations on named bytes that a store needs, on any backend.

Keys are relative POSIX paths below the store's root. Objects appear whole or not at all, and a listing shows what was written before it.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from contracts.errors import ConfigError

CHUNK = 16 * 2**20
CONCURRENT_FILES = 4

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class Objects(ABC):
    """Named bytes below one root."""

    def __init__(self, url: str) -> None:
        self.url = url

    @abstractmethod
    def read(self, key: str) -> bytes:
        """All bytes of `key`. Raises FileNotFoundError."""

    @abstractmethod
    def chunks(self, key: str) -> Iterator[bytes]:
        """The bytes of `key`, piece by piece. Raises FileNotFoundError."""

    @abstractmethod
    def create(self, key: str, data: bytes) -> bool:
        """Write `data` unless `key` exists; True when `data` is what now stands there. Of several racers exactly one set of bytes wins."""

    @abstractmethod
    def write(self, key: str, data: bytes) -> None:
        """Write `data`, replacing what is there."""

    @abstractmethod
    def upload(self, source: Path, key: str) -> None:
        """Copy a local file to `key`, replacing what is there."""

    @abstractmethod
    def download(self, key: str, target: Path) -> None:
        """Copy `key` to a local file. Raises FileNotFoundError."""

    @abstractmethod
    def size(self, key: str) -> int | None:
        """Bytes of `key`, or None where it does not exist."""

    @abstractmethod
    def sizes(self, prefix: str) -> dict[str, int]:
        """Key and bytes of everything below the folder `prefix`."""

    @abstractmethod
    def children(self, prefix: str) -> list[str]:
        """Names directly below the folder `prefix`, sorted."""

    @abstractmethod
    def delete(self, keys: Sequence[str]) -> None:
        """Remove `keys`, in this order; one that is not there is no error."""

    def sha256(self, key: str) -> str:
        """Hash of the bytes as they stand in the store. Raises FileNotFoundError."""
        return _sha256(self.chunks(key))


def sha256_of(path: Path) -> str:
    """Hash of a local file."""
    return _sha256(pieces(path))


def pieces(path: Path) -> Iterator[bytes]:
    """The bytes of a local file, piece by piece."""
    with path.open("rb", buffering=0) as file:
        while piece := file.read(CHUNK):
            yield piece


def in_parallel(work: Callable[[_Item], _Result], items: Iterable[_Item]) -> list[_Result]:
    """`work` on every item, a few at a time, results in order; the first error is raised and what has not begun is not begun."""
    todo = list(items)
    if len(todo) < 2:
        return [work(item) for item in todo]
    with ThreadPoolExecutor(min(CONCURRENT_FILES, len(todo))) as pool:
        futures = [pool.submit(work, item) for item in todo]
        try:
            return [future.result() for future in futures]
        finally:
            for future in futures:
                future.cancel()


def open_objects(url: str) -> Objects:
    """The backend that `url` names: a local folder (plain path or file://), s3://bucket/prefix or memory://name.

    Raises:
        ConfigError: another scheme, or no place named.
        StoreError: the service is away or refuses.
    """
    scheme, found, place = url.partition("://")
    if not found or scheme == "file":
        from infra.store.folder import FolderObjects

        return FolderObjects(place if found else url)
    if scheme == "s3" and place.strip("/"):
        from infra.store.s3 import S3Objects

        return S3Objects(place)
    if scheme == "memory":
        from infra.store.remote import MemoryObjects

        return MemoryObjects(place)
    raise ConfigError(f"'{url}' names no store", do="give a folder, s3://bucket/prefix or memory://name", where="store")


def _sha256(stream: Iterable[bytes]) -> str:
    total = hashlib.sha256()
    for piece in stream:
        total.update(piece)
    return total.hexdigest()
