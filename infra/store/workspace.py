"""A workspace: a folder of parts under a lease, from which artifacts are committed."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from contracts.errors import IntegrityError, SmolflowError, StageError
from infra.store import transfer
from infra.store.documents import NAME, FileEntry, InputReference, Manifest, Part, StoredFile, check, checked_name, sign
from infra.store.lease import Lease
from infra.store.objects import Objects, in_parallel

if TYPE_CHECKING:
    from infra.store.store import Artifact, Store

log = logging.getLogger(__name__)


class Workspace:
    """Where a stage works before it commits. A context manager: leaving it releases the lease."""

    def __init__(self, store: Store, stage: str, key: str, lease: Lease) -> None:
        self.stage, self.key = stage, key
        self._store, self._objects, self._lease = store, store.objects, lease
        self._folder = workspace_folder(stage, key)

    @property
    def lease(self) -> int:
        """Number of the lease; a worker joins under it."""
        return self._lease.number

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.release()

    def release(self) -> None:
        """Let go of the lease."""
        self._lease.release()

    def parts(self) -> list[Part]:
        """Sealed parts, by name. One whose record is damaged is left out, with a warning."""
        return list(sealed(self._objects, self._folder))

    def upload(self, name: str, local: Path) -> list[FileEntry]:
        """Copy every file below `local` into the part `name`, not sealing it (several nodes upload, and one seals all).

        Raises:
            ResourceError: no room left in the store.
            StageError: a good part of that name was sealed under this lease before.
        """
        earlier = read_part(self._objects, self._folder, name) if self._objects.size(_record(self._folder, name)) is not None else None
        if isinstance(earlier, Part) and earlier.lease == self.lease:
            self._refuse_good(earlier)
        return transfer.upload(self._objects, Path(local), self._place(name, self.lease))

    def seal(self, name: str, files: Sequence[FileEntry], meta: Mapping[str, Any] | None = None) -> Part:
        """Make the part `name` real, once the store itself confirms every file. A part of that name that is damaged is replaced.

        Raises:
            LeaseLost: a newer process has taken over.
            IntegrityError: a file is not in the store as it was sent.
            StageError: a good part of that name was sealed before.
        """
        now = datetime.now(UTC).isoformat(timespec="seconds")
        part = Part(name=name, lease=self.lease, files=sorted(files, key=lambda f: f.path), meta=dict(meta or {}), sealed=now)
        _refuse_doubles([file.path for file in part.files], name)
        self._refuse(part, hashes=False)
        data, _ = sign(part)
        self._lease.check()
        if not self._objects.create(_record(self._folder, name), data):
            earlier = read_part(self._objects, self._folder, name)
            if isinstance(earlier, Part):
                self._refuse_good(earlier)
            log.warning("%s: part '%s' is damaged and is replaced", self._folder, name)
            self._objects.write(_record(self._folder, name), data)
        return part

    def put(self, name: str, local: Path, meta: Mapping[str, Any] | None = None) -> Part:
        """Upload and seal in one step."""
        return self.seal(name, self.upload(name, local), meta)

    def verify(self, part: Part) -> None:
        """Raise IntegrityError where a file of `part` is missing or altered (reads every byte)."""
        self._refuse(part, hashes=True)

    def fetch(self, part: Part, dest: Path, files: Sequence[str] | None = None) -> Path:
        """Bring the files of `part` (or only those named: files or folders) below `dest`, each verified; returns `dest`.

        Raises:
            IntegrityError: missing or altered in the store.
        """
        where = f"{self._objects.url}/{self._folder}/{part.name}"
        return transfer.fetch(self._objects, transfer.chosen(self._stored(part), files, where), Path(dest), part.sealed)

    def newest(self, prefix: str = "step-", refused: Callable[[Part], str | None] = lambda part: None) -> tuple[Part | None, list[str]]:
        """The last part, by name, that begins with `prefix` and is whole, every byte of it; and what was skipped on the way, and why.

        Args:
            refused: why a part is not to be taken all the same: None where it is, "" where it is passed by without a word.
        """
        skipped: list[str] = []
        for name in reversed([name for name in _names(self._objects, self._folder) if name.startswith(prefix)]):
            part = read_part(self._objects, self._folder, name)
            if isinstance(part, str):
                skipped.append(part)
                continue
            reason = refused(part)
            if reason is not None:
                skipped += [reason] if reason else []
                continue
            problems = self._damage(part, hashes=True)
            if not problems:
                return part, skipped
            skipped.append(
                f"part '{name}' is damaged: {'; '.join(problems[:3])}" + (f" and {len(problems) - 3} more" if len(problems) > 3 else "")
            )
        return None, skipped

    def drop(self, part: Part) -> bool:
        """Delete `part`; False (and nothing deleted) where a committed artifact stands on it.

        Raises:
            LeaseLost: a newer process has taken over.
        """
        self._lease.check()
        folder = f"{self._folder}/parts/{part.name}/"
        try:
            committed = any(
                file.at.startswith(folder) for manifest in self._store.manifests_of(self.stage, self.key) for file in manifest.files
            )
        except IntegrityError as error:
            log.warning("part '%s' is kept: %s", part.name, error)
            return False
        if committed:
            return False
        keys = set(self._objects.sizes(folder.rstrip("/"))) - {_record(self._folder, part.name)}
        self._objects.delete([_record(self._folder, part.name), *sorted(keys)])  # the record first: what a crash leaves is no part any more
        return True

    def commit(
        self,
        fingerprint: str,
        parts: Sequence[Part],
        *,
        name: str = "",
        stage_version: int = 1,
        config: Mapping[str, Any] | None = None,
        inputs: Mapping[str, Artifact] | None = None,
        counts: Mapping[str, int] | None = None,
        metrics: Mapping[str, float] | None = None,
        evidence: Mapping[str, Any] | None = None,
        layouts: Sequence[dict[str, Any]] = (),
        interventions: Sequence[str] = (),
        cost: Mapping[str, Any] | None = None,
        versions: Mapping[str, str] | None = None,
        machine: Mapping[str, Any] | None = None,
    ) -> Artifact:
        """Write the manifest over `parts`: from here on the artifact is real. One that is there already is returned as it is.

        Raises:
            LeaseLost: a newer process has taken over.
            IntegrityError: a file of a part is missing or has another size.
        """
        files = [file for part in parts for file in self._stored(part)]
        _refuse_doubles([file.path for file in files], fingerprint)
        for part in parts:
            self._refuse(part, hashes=False)
        references = {
            role: InputReference(stage=one.stage, fingerprint=one.fingerprint, manifest_sha256=one.manifest_sha256)
            for role, one in (inputs or {}).items()
        }
        manifest = Manifest(
            stage=self.stage, name=name, stage_version=stage_version, fingerprint=fingerprint, workspace_key=self.key,
            config=dict(config or {}), inputs=references, files=files, counts=dict(counts or {}), metrics=dict(metrics or {}),
            evidence=dict(evidence or {}), layouts=list(layouts), interventions=list(interventions), cost=dict(cost or {}),
            versions=dict(versions or {}), machine=dict(machine or {}), created=datetime.now(UTC).isoformat(timespec="milliseconds"),
        )  # fmt: skip
        self._lease.check()
        return self._store.admit(manifest)

    def _stored(self, part: Part) -> list[StoredFile]:
        place = self._place(part.name, part.lease)
        return [StoredFile(path=f.path, bytes=f.bytes, sha256=f.sha256, at=f"{place}/{f.path}") for f in part.files]

    def _damage(self, part: Part, *, hashes: bool) -> list[str]:
        return transfer.damage(self._objects, self._stored(part), hashes=hashes)

    def _refuse(self, part: Part, *, hashes: bool) -> None:
        problems = self._damage(part, hashes=hashes)
        if problems:
            where = f"{self._objects.url}/{self._folder}/parts/{part.name}"
            raise IntegrityError(f"part '{part.name}' is damaged: {'; '.join(problems[:5])}", do="drop it and make it again", where=where)

    def _refuse_good(self, part: Part) -> None:
        if not self._damage(part, hashes=True):
            raise StageError(f"part '{part.name}' was sealed before", do="use it as it is, or drop it first", where=self._folder)

    def _place(self, name: str, lease: int) -> str:
        return f"{self._folder}/parts/{checked_name(name, 'part')}/{lease}"

    def _record(self, name: str) -> str:
        return f"{self._folder}/parts/{checked_name(name, 'part')}/part.json"


def workspace_folder(stage: str, key: str) -> str:
    """Where a workspace lies, relative to the store's root."""
    return f"workspaces/{checked_name(stage, 'stage')}/{checked_name(key, 'workspace key')}"


def sealed(objects: Objects, folder: str) -> Iterator[Part]:
    """The sealed parts of the workspace `folder`, by name; one whose record is damaged is left out, with a warning."""
    for name in _names(objects, folder):
        part = read_part(objects, folder, name)
        if isinstance(part, Part):
            yield part
        else:
            log.warning("%s/%s: %s", objects.url, folder, part)


def read_part(objects: Objects, folder: str, name: str) -> Part | str:
    """The part `name` of the workspace `folder`, or what is wrong with its record."""
    key = _record(folder, name)
    try:
        content, _ = check(objects.read(key), f"{objects.url}/{key}")
        part = Part.parse(content, key)
    except (SmolflowError, FileNotFoundError) as error:
        return f"part '{name}' has no readable record: {getattr(error, 'what', 'it is gone')}"
    return part if part.name == name else f"part '{name}' has the record of '{part.name}'"


def _names(objects: Objects, folder: str) -> list[str]:
    """Names of the parts that have a record, sorted."""
    names = [name for name in objects.children(f"{folder}/parts") if NAME.fullmatch(name)]
    recorded = in_parallel(lambda name: objects.size(_record(folder, name)) is not None, names)
    return [name for name, there in zip(names, recorded, strict=True) if there]


def _record(folder: str, name: str) -> str:
    return f"{folder}/parts/{checked_name(name, 'part')}/part.json"


def _refuse_doubles(paths: Sequence[str], where: str) -> None:
    doubles = [path for path, count in Counter(paths).items() if count > 1]
    if doubles:
        raise StageError(f"two files are called '{doubles[0]}'", do="give every file of an artifact its own name", where=where)
