"""Artifacts, workspaces and leases over a local folder or any S3-compatible service (see `Store`)."""

from infra.store.documents import FileEntry, InputReference, Manifest, Part, StoredFile
from infra.store.errors import ArtifactMissing, LeaseHeld, LeaseLost, StoreError
from infra.store.garbage import Garbage
from infra.store.store import Artifact, Store
from infra.store.workspace import Workspace

__all__ = [
    "Artifact",
    "ArtifactMissing",
    "FileEntry",
    "Garbage",
    "InputReference",
    "LeaseHeld",
    "LeaseLost",
    "Manifest",
    "Part",
    "Store",
    "StoreError",
    "StoredFile",
    "Workspace",
]
