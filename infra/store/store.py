"""The store: committed artifacts, the workspaces they come from, and published texts, over one API for a folder and for S3."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contracts.errors import ConfigError, IntegrityError
from infra.store import garbage, transfer
from infra.store.documents import FORMAT, RESTORE, Manifest, canonical, check, checked_name, sign
from infra.store.errors import ArtifactMissing
from infra.store.format import agree_on_format, newer_format
from infra.store.lease import Lease
from infra.store.objects import Objects, in_parallel, open_objects
from infra.store.workspace import Workspace, workspace_folder

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Artifact:
    """What a stage left in the store."""

    manifest: Manifest
    manifest_sha256: str
    uri: str

    @property
    def stage(self) -> str:
        """Stage that made it."""
        return self.manifest.stage

    @property
    def fingerprint(self) -> str:
        """Its identity."""
        return self.manifest.fingerprint


class Store:
    """One store; `Store.open` makes it."""

    def __init__(self, objects: Objects) -> None:
        self.objects = objects
        self._known: dict[str, Artifact] = {}

    @classmethod
    def open(cls, url: str) -> Store:
        """The store at `url`: a local folder (plain path or file://), s3://bucket/prefix or memory://name; made where there is none.

        Raises:
            StoreError: the service is away (said within about 5 s), refuses, or a newer version wrote this store.
            ConfigError: `url` names no store.
        """
        objects = open_objects(url)
        agree_on_format(objects)
        return cls(objects)

    @property
    def url(self) -> str:
        """Where it is; `Store.open` of it gives the same store."""
        return self.objects.url

    def find(self, fingerprint: str, stage: str | None = None) -> Artifact | None:
        """The committed artifact of that identity, or None. Its manifest and the sizes of its files are checked, hashes are not.

        With `stage` one place is looked at, without it every stage's.

        A damaged artifact is as good as none: a warning says what is wrong, and the stage that runs again replaces it.
        """
        checked_name(fingerprint, "fingerprint")
        stages = self.objects.children("artifacts") if stage is None else [checked_name(stage, "stage")]
        found = in_parallel(lambda one: self._whole(one, fingerprint), stages)
        return next((artifact for artifact in found if artifact is not None), None)

    def require(self, stage: str, fingerprint: str) -> Artifact:
        """The committed artifact of `stage`.

        Raises:
            ArtifactMissing: it is not there; names the stage to run first.
        """
        artifact = self._whole(checked_name(stage, "stage"), checked_name(fingerprint, "fingerprint"))
        if artifact is None:
            what = f"stage '{stage}' has no artifact {fingerprint[:12]} in this store"
            raise ArtifactMissing(what, do=f"run stage '{stage}' first (smolflow run {stage})", where=self.url)
        return artifact

    def artifacts(self, *, strict: bool = False) -> list[Artifact]:
        """Every artifact whose manifest can be read, newest first; files are not looked at.

        Raises:
            IntegrityError: with `strict`, a manifest is damaged (else it is left out, with a warning).
        """
        keys = [key for key in self.objects.sizes("artifacts") if key.endswith("/manifest.json") and key.count("/") == 3]
        found = [artifact for artifact in in_parallel(self._read if strict else self._readable, keys) if artifact is not None]
        return sorted(found, key=lambda artifact: artifact.manifest.created, reverse=True)

    def begin(self, stage: str, key: str, wait: float = 0.0) -> Workspace:
        """The workspace of `stage` and `key` under a new lease; a context manager that releases it.

        Args:
            wait: seconds to wait for a live holder to end.

        Raises:
            LeaseHeld: a live process works there; says who and since when.
        """
        return Workspace(self, stage, key, Lease.take(self.objects, workspace_folder(stage, key), wait))

    def attach(self, stage: str, key: str, lease: int | None = None) -> Workspace:
        """A worker's way into a workspace: under the lease that its starter holds, or (None) under one of its own.

        Raises:
            LeaseLost: that lease is no longer in force.
            LeaseHeld: with None, as `begin`.
        """
        if lease is None:
            return self.begin(stage, key)
        return Workspace(self, stage, key, Lease.join(self.objects, workspace_folder(stage, key), lease))

    def materialise(self, artifact: Artifact, dest_root: Path, files: Sequence[str] | None = None) -> Path:
        """The artifact's files (or only those named: files or folders) as verified, read-only copies in dest_root/<fingerprint>.

        Copied once per node; a copy that nobody touched since (size and time of change) is taken as it is.

        Raises:
            IntegrityError: a file is missing or altered in the store.
            ResourceError: no room left here.
        """
        wanted = transfer.chosen(artifact.manifest.files, files, artifact.uri)
        return transfer.fetch(self.objects, wanted, Path(dest_root) / artifact.fingerprint, artifact.manifest.created)

    def put_record(self, artifact: Artifact, name: str, record: dict[str, Any]) -> None:
        """Write a small record (a gate's verdict, a waiver) beside the artifact, replacing one of that name."""
        key = f"{_folder(artifact.stage, artifact.fingerprint)}/records/{checked_name(name, 'record')}.json"
        self.objects.write(key, canonical(record))

    def records(self, artifact: Artifact) -> dict[str, dict[str, Any]]:
        """Every record beside the artifact, by name."""
        folder = f"{_folder(artifact.stage, artifact.fingerprint)}/records"
        names = [name for name in self.objects.children(folder) if name.endswith(".json")]
        found: dict[str, dict[str, Any]] = {}
        for name in names:
            try:
                found[name.removesuffix(".json")] = json.loads(self.objects.read(f"{folder}/{name}"))
            except ValueError:
                raise IntegrityError(
                    f"record '{name}' is not JSON", do="remove it and run the stage's gate again", where=artifact.uri
                ) from None
        return found

    def publish(self, text: str, kind: str = "recipe") -> str:
        """Keep a person's text under its own hash; returns the reference `store:<kind>/<digest>`."""
        data = text.encode()
        digest = hashlib.sha256(data).hexdigest()[:32]
        key = f"published/{checked_name(kind, 'kind')}/{digest}"
        if not self.objects.create(key, data):
            self.objects.write(key, data)  # what stood there was not what its name says
        return f"store:{kind}/{digest}"

    def read_published(self, reference: str) -> str:
        """The text behind a reference that `publish` gave.

        Raises:
            ArtifactMissing: it is not in this store.
            IntegrityError: it was altered.
        """
        kind, _, digest = reference.removeprefix("store:").partition("/")
        key = f"published/{checked_name(kind, 'reference')}/{checked_name(digest, 'reference')}"
        try:
            data = self.objects.read(key)
        except FileNotFoundError:
            raise ArtifactMissing(
                f"'{reference}' is not in this store", do="publish it again, or name the store that holds it", where=self.url
            ) from None
        if hashlib.sha256(data).hexdigest()[:32] != digest:
            raise IntegrityError(f"'{reference}' was altered", do="publish it again", where=f"{self.url}/{key}")
        return data.decode()

    def gc(self, keep: set[str], dry_run: bool) -> list[garbage.Garbage]:
        """Remove (or, with `dry_run`, only list) what nothing in `keep` needs.

        Args:
            keep: fingerprints, whose whole lineage is kept, and workspace keys, whose sealed parts are kept although uncommitted. What a
                live process works on is always kept.
        """
        return garbage.collect(self, keep, dry_run=dry_run)

    def admit(self, manifest: Manifest) -> Artifact:
        """Write a manifest, create-only; the last act of a commit. A whole artifact that is there is returned, a damaged one replaced."""
        key = f"{_folder(manifest.stage, manifest.fingerprint)}/manifest.json"
        data, digest = sign(manifest)
        if not self.objects.create(key, data):
            earlier = self._whole(manifest.stage, manifest.fingerprint)
            if earlier is not None:
                return earlier
            self.objects.write(key, data)
        return self._remember(key, manifest, digest)

    def manifests_of(self, stage: str, workspace_key: str) -> Iterator[Manifest]:
        """Manifests that stand on the parts of one workspace.

        Raises:
            IntegrityError: a manifest of this stage is damaged, so that nobody knows what it needs.
        """
        for fingerprint in self.objects.children(f"artifacts/{stage}"):
            artifact = self._known.get(f"{_folder(stage, fingerprint)}/manifest.json") or self._read(
                f"{_folder(stage, fingerprint)}/manifest.json"
            )
            if artifact is not None and artifact.manifest.workspace_key == workspace_key:
                yield artifact.manifest

    def _whole(self, stage: str, fingerprint: str) -> Artifact | None:
        key = f"{_folder(stage, fingerprint)}/manifest.json"
        artifact = self._readable(key)
        if artifact is None:
            return None
        if (artifact.stage, artifact.fingerprint) != (stage, fingerprint):
            log.warning("%s/%s is the manifest of another artifact and is ignored", self.url, key)
            return None
        problems = transfer.damage(self.objects, artifact.manifest.files, hashes=False)
        if problems:
            log.warning("%s is damaged and does not count: %s", artifact.uri, "; ".join(problems[:5]))
        return None if problems else artifact

    def _readable(self, key: str) -> Artifact | None:
        try:
            return self._read(key)
        except IntegrityError as error:
            log.warning("ignored: %s", error)
            return None

    def _read(self, key: str) -> Artifact | None:
        where = f"{self.url}/{key}"
        try:
            content, digest = check(self.objects.read(key), where)
        except FileNotFoundError:
            return None
        version = content.get("format")
        if isinstance(version, int) and version > FORMAT:
            raise newer_format(where, version)
        try:
            return self._remember(key, Manifest.parse(content, where), digest)
        except ConfigError as error:
            raise IntegrityError(f"no valid manifest: {error.what}", do=RESTORE, where=where) from None

    def _remember(self, key: str, manifest: Manifest, digest: str) -> Artifact:
        artifact = Artifact(manifest, digest, f"{self.url}/{key.removesuffix('/manifest.json')}")
        self._known[key] = artifact
        return artifact


def _folder(stage: str, fingerprint: str) -> str:
    return f"artifacts/{stage}/{fingerprint}"
