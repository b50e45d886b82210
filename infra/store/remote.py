"""Objects on any fsspec file system that replaces objects whole; and the one in this process's memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from infra.store.errors import disk_errors
from infra.store.objects import CHUNK, Objects


class FsspecObjects(Objects):
    """Everything but `create`, which fsspec does not promise to be atomic."""

    def __init__(self, url: str, root: str, files: Any) -> None:
        super().__init__(url)
        self._root, self._files = root.rstrip("/"), files

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}"

    def _asking(self, key: str) -> AbstractContextManager[object]:
        """Surrounds every request; a backend turns its own errors into ours here."""
        return nullcontext(key)

    def read(self, key: str) -> bytes:
        """All bytes of `key`. Raises FileNotFoundError."""
        with self._asking(key):
            return bytes(self._files.cat_file(self._path(key)))

    def chunks(self, key: str) -> Iterator[bytes]:
        """The bytes of `key`, piece by piece. Raises FileNotFoundError."""
        length = self.size(key)
        if length is None:
            raise FileNotFoundError(key)
        for start in range(0, length, CHUNK):
            with self._asking(key):
                yield bytes(self._files.cat_file(self._path(key), start=start, end=min(start + CHUNK, length)))

    def write(self, key: str, data: bytes) -> None:
        """Write `data`, replacing what is there."""
        with self._asking(key):
            self._files.pipe_file(self._path(key), data)

    def upload(self, source: Path, key: str) -> None:
        """Copy a local file to `key`, replacing what is there."""
        with self._asking(key):
            self._files.put_file(str(source), self._path(key))

    def download(self, key: str, target: Path) -> None:
        """Copy `key` to a local file. Raises FileNotFoundError."""
        with disk_errors(str(target.parent)), self._asking(key):
            self._files.get_file(self._path(key), str(target))

    def size(self, key: str) -> int | None:
        """Bytes of `key`, or None where it does not exist."""
        with self._asking(key):
            try:
                found = self._files.info(self._path(key))
            except FileNotFoundError:
                return None
        return int(found["size"]) if found["type"] == "file" else None

    def sizes(self, prefix: str) -> dict[str, int]:
        """Key and bytes of everything below the folder `prefix`."""
        with self._asking(prefix):
            found = self._files.find(self._path(prefix), detail=True)
        start = len(self._root) + 1
        return {name[start:]: int(info["size"]) for name, info in found.items() if not name.endswith("/")}

    def children(self, prefix: str) -> list[str]:
        """Names directly below the folder `prefix`, sorted."""
        with self._asking(prefix):
            try:
                found = self._files.ls(self._path(prefix), detail=False)
            except FileNotFoundError:
                return []
        return sorted({name.rstrip("/").rsplit("/", 1)[-1] for name in found} - {""})

    def delete(self, keys: Sequence[str]) -> None:
        """Remove `keys`, in this order; one that is not there is no error."""
        for key in keys:
            with self._asking(key):
                try:
                    self._files.rm_file(self._path(key))
                except FileNotFoundError:
                    continue


class MemoryObjects(FsspecObjects):
    """Objects in this process's memory: gone when it ends, shared by everything in it that opens the same name."""

    _creating = threading.Lock()

    def __init__(self, name: str) -> None:
        from fsspec.implementations.memory import MemoryFileSystem

        super().__init__(f"memory://{name}", f"/{name.strip('/')}", MemoryFileSystem())

    def create(self, key: str, data: bytes) -> bool:
        """Write `data` unless `key` exists; True when `data` is what now stands there."""
        with self._creating:
            if self.size(key) is None:
                self.write(key, data)
            return self.read(key) == data
