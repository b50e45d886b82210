"""One error base: a stable code, what happened, where, and what to do.

The same text reaches the command line, the Prefect state and the log.
"""

from __future__ import annotations

from typing import ClassVar


class SmolflowError(Exception):
    """Base of every error a person should read instead of a traceback.

    Args:
        what: what happened, as one sentence.
        do: what the reader can do about it.
        where: the file, field or stage concerned.
    """

    code: ClassVar[str] = "smolflow"

    def __init__(self, what: str, *, do: str, where: str = "") -> None:
        self.what, self.do, self.where = what, do, where
        super().__init__(what, do, where)

    def __str__(self) -> str:
        place = f" [{self.where}]" if self.where else ""
        return f"{self.code}: {self.what}{place}\n  What to do: {self.do}"

    def __reduce__(self) -> tuple[object, ...]:
        """Keyword-only arguments do not survive the default pickling, and Prefect pickles what a flow raises."""
        return (_rebuild, (type(self), self.what, self.do, self.where))


def _rebuild(kind: type[SmolflowError], what: str, do: str, where: str) -> SmolflowError:
    return kind(what, do=do, where=where)


class ConfigError(SmolflowError):
    """A recipe, site or override that cannot be used; raised before any work."""

    code = "config"


class InputError(SmolflowError):
    """Data a person gave that cannot be read (empty, corrupted, truncated)."""

    code = "input"


class IntegrityError(SmolflowError):
    """Stored bytes that do not match their manifest."""

    code = "integrity"


class GateError(SmolflowError):
    """A gate that blocks what comes after it."""

    code = "gate"


class ResourceError(SmolflowError):
    """The machine lacks what the work needs (memory, disk, a port, a device)."""

    code = "resource"


class StageError(SmolflowError):
    """A stage that failed while it worked."""

    code = "stage"
