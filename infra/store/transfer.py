"""Moving files between a local folder and the store, with every byte accounted for."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from contracts.errors import ConfigError, IntegrityError, StageError
from infra.store.documents import FileEntry, StoredFile, safe_path
from infra.store.errors import disk_errors
from infra.store.objects import Objects, in_parallel, sha256_of

DAMAGED = "restore it from a copy; or remove the record that names it and run the stage again"
_Entry = TypeVar("_Entry", bound=FileEntry)


def upload(objects: Objects, local: Path, folder: str) -> list[FileEntry]:
    """Copy every file below `local` to `folder` and read the sizes back from the store.

    Raises:
        ResourceError: no room left in the store.
        IntegrityError: the store holds another size than was sent.
        StageError: a file that cannot be stored (a broken or folder link, a name that is no safe path).
    """

    def send(path: Path) -> FileEntry:
        relative = path.relative_to(local).as_posix()
        entry = FileEntry(path=relative, bytes=path.stat().st_size, sha256=sha256_of(path))
        objects.upload(path, f"{folder}/{relative}")
        if (stored := objects.size(f"{folder}/{relative}")) != entry.bytes:
            raise IntegrityError(
                f"'{relative}' has {entry.bytes} bytes here and {stored} in the store", do="run again", where=f"{objects.url}/{folder}"
            )
        return entry

    return in_parallel(send, _files(local))


def damage(objects: Objects, files: Sequence[StoredFile], *, hashes: bool) -> list[str]:
    """What is wrong with stored files, one line each: missing, another size or (with `hashes`) other content. Empty: nothing."""
    folders = sorted({part_folder(file.at) for file in files})
    sizes = {key: size for found in in_parallel(objects.sizes, folders) for key, size in found.items()}

    def look(file: StoredFile) -> str | None:
        if file.at not in sizes:
            return f"'{file.path}' is missing"
        if sizes[file.at] != file.bytes:
            return f"'{file.path}' has {sizes[file.at]} bytes instead of {file.bytes}"
        if hashes and objects.sha256(file.at) != file.sha256:
            return f"'{file.path}' was altered: its hash differs"
        return None

    return [line for line in in_parallel(look, files) if line]


def fetch(objects: Objects, files: Sequence[StoredFile], target: Path, made: str) -> Path:
    """Bring `files` below the folder `target`, once for all processes of this node; what is there with the right size is kept.

    Each file gets its name only when its hash is right, and is made read-only; its time of change is set to `made` (a time in ISO 8601),
    by which a later call sees that nobody touched it.

    Raises:
        IntegrityError: missing or altered in the store.
        ResourceError: no room left here.
    """
    stamp = datetime.fromisoformat(made).timestamp() // 1
    incoming = target.parent / f".{target.name}.incoming"

    def bring(file: StoredFile) -> None:
        place, half = target / file.path, incoming / file.path
        half.parent.mkdir(parents=True, exist_ok=True)
        try:
            objects.download(file.at, half)
        except FileNotFoundError:
            raise IntegrityError(f"'{file.path}' is missing", do=DAMAGED, where=f"{objects.url}/{file.at}") from None
        if half.stat().st_size != file.bytes or sha256_of(half) != file.sha256:
            raise IntegrityError(
                f"'{file.path}' was altered: its hash differs from the manifest's", do=DAMAGED, where=f"{objects.url}/{file.at}"
            )
        half.chmod(0o444)
        os.utime(half, (stamp, stamp))
        place.parent.mkdir(parents=True, exist_ok=True)
        half.replace(place)

    with disk_errors(str(target)), _one_at_a_time(target):
        shutil.rmtree(incoming, ignore_errors=True)  # what a killed process left
        target.mkdir(parents=True, exist_ok=True)
        try:
            in_parallel(bring, [file for file in files if not _is_there(target / file.path, file, stamp)])
        finally:
            shutil.rmtree(incoming, ignore_errors=True)
    return target


def chosen(files: Sequence[_Entry], names: Sequence[str] | None, where: str) -> list[_Entry]:
    """The files called `names`; a name may be a folder's. None: all.

    Raises:
        ConfigError: a name that fits none.
    """
    if names is None:
        return list(files)
    wanted: dict[str, _Entry] = {}
    for name in names:
        fits = {file.path: file for file in files if file.path == name or file.path.startswith(f"{name.rstrip('/')}/")}
        if not fits:
            raise ConfigError(f"no file '{name}'", do=f"choose from: {', '.join(file.path for file in files[:20])}", where=where)
        wanted |= fits
    return list(wanted.values())


def _files(local: Path) -> list[Path]:
    found: list[Path] = []
    for folder, folders, names in os.walk(local):
        linked = [name for name in folders if Path(folder, name).is_symlink()]
        paths = [Path(folder, name) for name in names]
        bad = [Path(folder, name) for name in linked] + [path for path in paths if not path.is_file()]
        if bad:
            raise StageError(
                f"'{bad[0].relative_to(local)}' is no regular file",
                do="write files and folders only, no links to folders",
                where=str(local),
            )
        found += paths
    for path in found:
        try:
            safe_path(path.relative_to(local).as_posix())
        except ValueError as error:
            raise StageError(str(error), do="choose another file name", where=str(local)) from None
    return sorted(found)


def part_folder(at: str) -> str:
    """workspaces/<stage>/<key>/parts/<name>/<lease>, below which a part's files lie."""
    return "/".join(at.split("/")[:6])


def _is_there(path: Path, file: FileEntry, stamp: float) -> bool:
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return found.st_size == file.bytes and found.st_mtime == stamp


@contextmanager
def _one_at_a_time(target: Path) -> Iterator[None]:
    """Holds a lock file beside `target`; the system frees it when the process dies."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / f".{target.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
