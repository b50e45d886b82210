"""The store's format: founded with the store, read at every opening."""

from __future__ import annotations

import json

from contracts.errors import IntegrityError
from infra.store.documents import FORMAT, canonical
from infra.store.errors import StoreError
from infra.store.objects import Objects

FORMAT_KEY = "format.json"


def newer_format(where: str, version: object) -> StoreError:
    """What to say about something that a newer version wrote."""
    do = "update smolflow, or use another store; nothing was read or written"
    return StoreError(f"written by a newer smolflow (format {version}; this one knows up to {FORMAT})", do=do, where=where)


def agree_on_format(objects: Objects) -> None:
    """Read the store's format, or found the store; refuse a newer format, and a service that does not honour create-only writes."""
    where = f"{objects.url}/{FORMAT_KEY}"
    try:
        data = objects.read(FORMAT_KEY)
    except FileNotFoundError:
        data = canonical({"format": FORMAT})
        objects.create(FORMAT_KEY, data)
        if objects.create(FORMAT_KEY, data + b"\n"):
            objects.delete([FORMAT_KEY])
            do = "use a service that honours If-None-Match (AWS S3, Ceph, MinIO...) or a local folder"
            raise StoreError(
                "this service overwrites an object that was to be created only once: leases cannot work", do=do, where=objects.url
            ) from None
        data = objects.read(FORMAT_KEY)
    try:
        version = int(json.loads(data)["format"])
    except (ValueError, KeyError, TypeError):
        raise IntegrityError(
            "the store's format file is damaged", do=f'restore it; its content is {{"format": {FORMAT}}}', where=where
        ) from None
    if version > FORMAT:
        raise newer_format(where, version)
