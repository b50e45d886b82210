"""The JSON records that make parts and artifacts real, each with the hash of its own canonical bytes."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import PurePosixPath
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from contracts.config import Config
from contracts.errors import ConfigError, IntegrityError, StageError

FORMAT = 1
"""Version of the store's layout and records; a store with a higher one is refused."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,199}")


def safe_name(name: str) -> str:
    """`name`, if it may stand as one step of a key. Raises ValueError."""
    if not NAME.fullmatch(name):
        raise ValueError(f"'{name}' is no safe name (letters, digits, '.', '_', '+', '-')")
    return name


def checked_name(name: str, what: str) -> str:
    """`name`; raises ConfigError, saying `what` it names, where it could lead out of its folder."""
    try:
        return safe_name(name)
    except ValueError as error:
        raise ConfigError(str(error), do="choose a plain name", where=what) from None


def safe_path(path: str) -> str:
    """`path`, if it is relative, POSIX and stays below its root. Raises ValueError."""
    pure = PurePosixPath(path)
    if not path or pure.is_absolute() or str(pure) != path or ".." in pure.parts or "\\" in path or not path.isprintable():
        raise ValueError(f"'{path}' is no safe relative path")
    return path


SafeName = Annotated[str, AfterValidator(safe_name)]
SafePath = Annotated[str, AfterValidator(safe_path)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class FileEntry(Config):
    """One file of a part."""

    path: SafePath
    """Relative to the part."""
    bytes: int = Field(ge=0)
    """Size."""
    sha256: Sha256
    """Hash of the content."""


class StoredFile(FileEntry):
    """One file of an artifact."""

    at: SafePath
    """Where its bytes lie, relative to the store's root."""


class Part(Config):
    """A resumable piece inside a workspace, real once this record is written."""

    name: SafeName
    """For example step-000120."""
    lease: int = Field(ge=0)
    """Number of the lease under which the files were uploaded; they lie in a folder of that name."""
    files: list[FileEntry]
    """Its files."""
    meta: dict[str, Any] = Field(default_factory=dict)
    """What the stage wants to remember with it."""
    sealed: str
    """When, in UTC (ISO 8601)."""

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum(file.bytes for file in self.files)


class InputReference(Config):
    """An input as the manifest of what was made from it names it."""

    stage: SafeName
    """Stage that made it."""
    fingerprint: SafeName
    """Its identity."""
    manifest_sha256: Sha256
    """Hash of its manifest, so that another result under the same identity is noticed."""


class Manifest(Config):
    """The record that makes an artifact real."""

    format: int = FORMAT
    """Version of this record."""
    stage: SafeName
    """Stage that made it."""
    name: str = ""
    """Name for people, where there is one."""
    stage_version: int = 1
    """Declared version of the stage's code."""
    fingerprint: SafeName
    """Identity of the result."""
    workspace_key: SafeName
    """Workspace whose parts hold the files."""
    config: dict[str, Any] = Field(default_factory=dict)
    """The document that the fingerprint hashes."""
    inputs: dict[str, InputReference] = Field(default_factory=dict)
    """Lineage, by role."""
    files: list[StoredFile] = Field(default_factory=list)
    """Every file."""
    counts: dict[str, int] = Field(default_factory=dict)
    """Documents, bytes, tokens..."""
    metrics: dict[str, float] = Field(default_factory=dict)
    """Summary figures."""
    evidence: dict[str, Any] = Field(default_factory=dict)
    """What gates and the report look at."""
    layouts: list[dict[str, Any]] = Field(default_factory=list)
    """Parallel layouts used, for a training phase."""
    interventions: list[str] = Field(default_factory=list)
    """What was done by hand or by rule while it ran."""
    cost: dict[str, Any] = Field(default_factory=dict)
    """Seconds and processes."""
    versions: dict[str, str] = Field(default_factory=dict)
    """Libraries."""
    machine: dict[str, Any] = Field(default_factory=dict)
    """Where it was made."""
    created: str
    """When it was committed, in UTC (ISO 8601)."""


def canonical(value: Any) -> bytes:
    """The one JSON text of `value`: sorted keys, no spaces, UTF-8.

    Raises:
        StageError: it holds something that JSON cannot carry, such as NaN.
    """
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise StageError(
            f"a record cannot be written as JSON: {error}", do="put only finite numbers, texts, lists and mappings into it"
        ) from None


def sign(document: Config) -> tuple[bytes, str]:
    """(bytes to store, sha256 over the canonical bytes) of a record; the stored text is indented for people."""
    content = json.loads(canonical(document.model_dump(mode="json")))  # as a reader will see it: keys are texts
    digest = hashlib.sha256(canonical(content)).hexdigest()
    return json.dumps({"sha256": digest, "content": content}, indent=1, ensure_ascii=False, allow_nan=False).encode(), digest


def check(data: bytes, where: str) -> tuple[dict[str, Any], str]:
    """(content, its sha256) of a stored record.

    Raises:
        IntegrityError: truncated or altered.
    """
    try:
        envelope = json.loads(data)
        content, digest = envelope["content"], envelope["sha256"]
    except (ValueError, KeyError, TypeError):
        raise IntegrityError("a record is truncated or not JSON", do=RESTORE, where=where) from None
    if hashlib.sha256(canonical(content)).hexdigest() != digest:
        raise IntegrityError("a record does not match its own hash: it was altered", do=RESTORE, where=where)
    if not isinstance(content, dict):
        raise IntegrityError("a record holds no mapping", do=RESTORE, where=where)
    return content, str(digest)


RESTORE = "restore it from a copy; or remove this file and run the stage again"
