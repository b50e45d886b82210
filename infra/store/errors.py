"""What a store says when it cannot do what was asked."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from contracts.errors import ResourceError, SmolflowError

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class StoreError(SmolflowError):
    """The store is away, refuses the credentials, or cannot be used by this version."""

    code = "store"


class LeaseHeld(SmolflowError):
    """Another live process works on the same thing."""

    code = "lease-held"


class LeaseLost(SmolflowError):
    """This process was taken for dead and a newer one has taken over; nothing more may be sealed from here."""

    code = "lease-lost"


class ArtifactMissing(SmolflowError):
    """An artifact that is not in the store; names the stage to run first."""

    code = "artifact-missing"


@contextmanager
def disk_errors(where: str) -> Iterator[None]:
    """Turn a full disk (or a file size limit) into a ResourceError; other errors pass."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            what = f"no room left to write ({error.strerror})"
            do = "free some space or raise the limit, then run the same command again; what was saved before is untouched"
            raise ResourceError(what, do=do, where=where) from error
        raise
