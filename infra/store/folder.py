"""Objects in a local (or network-mounted) folder: temporary file, then rename, or a hard link where it must not exist yet."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from contracts.errors import ConfigError
from infra.store.errors import StoreError, disk_errors
from infra.store.objects import Objects, pieces

INCOMING = ".incoming"
"""Half-written files lie here, where no listing looks; what a crash leaves is removed when it is a day old."""
STALE_SECONDS = 86_400.0


class FolderObjects(Objects):
    """A folder. Data reaches the disk (fsync) before it gets its name, so a power cut leaves no named half of a file."""

    def __init__(self, folder: str) -> None:
        if not folder:
            raise ConfigError("an empty path names no store", do="give a folder, s3://bucket/prefix or memory://name", where="store")
        self._root = Path(folder).expanduser().resolve()
        super().__init__(str(self._root))
        try:
            (self._root / INCOMING).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"the store's folder cannot be used: {error.strerror}", do="choose a folder you may write to", where=self.url
            ) from error
        self._sweep()

    def read(self, key: str) -> bytes:
        """All bytes of `key`. Raises FileNotFoundError."""
        return (self._root / key).read_bytes()

    def chunks(self, key: str) -> Iterator[bytes]:
        """The bytes of `key`, piece by piece. Raises FileNotFoundError."""
        return pieces(self._root / key)

    def create(self, key: str, data: bytes) -> bool:
        """A hard link to a finished temporary file: the only create-only operation that is also atomic in content."""
        with self._incoming() as temporary:
            _put_bytes(temporary, data)
            target = self._root / key
            try:
                _named(target, lambda: os.link(temporary, target))
            except FileExistsError:
                linked = os.stat(temporary).st_nlink > 1  # over NFS a repeated request reports the link that its first copy made
                return linked or target.read_bytes() == data
            except OSError as error:
                raise StoreError(
                    f"this file system makes no hard links ({error.strerror})", do="put the store on another one", where=self.url
                ) from error
            _sync_folder(target.parent)
            return True

    def write(self, key: str, data: bytes) -> None:
        """Write `data`, replacing what is there."""
        with self._incoming() as temporary:
            _put_bytes(temporary, data)
            _named(self._root / key, lambda: temporary.replace(self._root / key))

    def upload(self, source: Path, key: str) -> None:
        """Copy a local file to `key`: a real copy, so that later changes of the source do not reach the store."""
        with self._incoming() as temporary:
            shutil.copyfile(source, temporary)
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            _named(self._root / key, lambda: temporary.replace(self._root / key))

    def download(self, key: str, target: Path) -> None:
        """Copy `key` to a local file. Raises FileNotFoundError."""
        with disk_errors(str(target.parent)):
            shutil.copyfile(self._root / key, target)

    def size(self, key: str) -> int | None:
        """Bytes of `key`, or None where it does not exist."""
        try:
            return (self._root / key).stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return None

    def sizes(self, prefix: str) -> dict[str, int]:
        """Key and bytes of everything below the folder `prefix`."""
        found: dict[str, int] = {}
        for folder, _, names in os.walk(self._root / prefix):
            for name in names:
                path = Path(folder, name)
                with contextlib.suppress(FileNotFoundError):  # removed since it was listed
                    found[path.relative_to(self._root).as_posix()] = path.stat().st_size
        return found

    def children(self, prefix: str) -> list[str]:
        """Names directly below the folder `prefix`, sorted."""
        try:
            return sorted(os.listdir(self._root / prefix))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def delete(self, keys: Sequence[str]) -> None:
        """Remove `keys` in this order, and the folders that become empty."""
        for key in keys:
            path = self._root / key
            path.unlink(missing_ok=True)
            for parent in path.parents:
                if parent == self._root or not _removed(parent):
                    break

    @contextlib.contextmanager
    def _incoming(self) -> Iterator[Path]:
        temporary = self._root / INCOMING / uuid.uuid4().hex
        with disk_errors(self.url):
            try:
                yield temporary
            finally:
                temporary.unlink(missing_ok=True)

    def _sweep(self) -> None:
        for leftover in (self._root / INCOMING).iterdir():
            with contextlib.suppress(FileNotFoundError):
                if time.time() - leftover.stat().st_mtime > STALE_SECONDS:
                    leftover.unlink()


def _put_bytes(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _named(target: Path, place: Callable[[], object]) -> None:
    """Run `place`, which gives a finished file its name; its folder is made first, and again where a clean-up took it away meanwhile."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        place()
    except FileNotFoundError:
        target.parent.mkdir(parents=True, exist_ok=True)
        place()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _removed(folder: Path) -> bool:
    try:
        folder.rmdir()
    except OSError:
        return False
    return True
