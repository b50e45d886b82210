"""What the outside world looked like: digests of everything that the stages read from outside the store."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from contracts.config import digest
from tasks.data.config import Acquisition, SourceConfig, TokenizerConfig
from tasks.data.embedded import versions
from tasks.data.files import Found, find_files
from tasks.data.generated import VERSION

_hashes: dict[tuple[str, int, int, int], str] = {}


def snapshot_digest(config: SourceConfig) -> str:
    """Digest of what the sources hold now.

    Local files by content and relative name (hashed once per size and time of change), the embedded corpus by (package, version), URLs by
    relative name, size and entity tag, Hugging Face data sets by (name, subset, split, revision), generated text by its maker's version,
    its skills and its seed.

    Two looks may be compared, also from different processes: the stage `source` looks again once it has copied, and records what it saw
    in its evidence as `snapshot`; if that is not the digest of the plan, the sources changed in between.

    Raises:
        InputError: a path that does not exist or a package that is not installed.
    """
    return digest([_source(source) for source in config.sources])


def tokenizer_digest(config: TokenizerConfig) -> str | None:
    """Digest of the existing tokenizer that `config.path` names; None when one is trained."""
    if config.path is None:
        return None
    folder = Path(config.path)
    if folder.is_dir():
        return digest(_folder(folder))
    return digest([config.path, config.revision])


def _source(source: Acquisition) -> Any:
    if source.kind == "embedded":
        return [source.name, "embedded", versions(source)]
    if source.kind == "published":
        return [source.name, "published"]
    if source.kind == "generated":
        return [source.name, "generated", VERSION, source.skills, source.seed or 0]
    if source.kind == "files":
        return [source.name, "files", [[file.name, content_digest(file)] for file in find_files(source)]]
    folder = Path(str(source.path))
    where: Any = _folder(folder) if folder.is_dir() else source.path
    return [source.name, "huggingface", where, source.subset, source.split, source.revision]


def _folder(folder: Path) -> list[list[str]]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    return [[path.relative_to(folder).as_posix(), _local_digest(path)] for path in files]


def content_digest(file: Found) -> str:
    """sha256 of a local file; of a remote one its size and entity tag (or what the file system has in its place)."""
    return _local_digest(Path(file.path)) if isinstance(file.fs, LocalFileSystem) else _remote_digest(file.fs, file.path)


def _local_digest(path: Path) -> str:
    status = path.stat()
    key = (str(path), status.st_size, status.st_mtime_ns, status.st_ctime_ns)  # the last one: a copy may bring an old time of change
    if key not in _hashes:
        with path.open("rb") as handle:
            _hashes[key] = hashlib.file_digest(handle, "sha256").hexdigest()
    return _hashes[key]


def _remote_digest(fs: fsspec.AbstractFileSystem, path: str) -> str:
    details = fs.info(path)
    tag = _first(details, ("ETag", "etag", "md5Hash", "content_md5", "checksum", "LastModified", "mtime", "created"))
    return digest([details.get("size"), str(tag)])


def _first(details: dict[str, Any], names: Sequence[str]) -> Any:
    return next((details[name] for name in names if details.get(name)), None)
