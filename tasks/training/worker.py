"""Process of the stages `train-*`: `python -m tasks.training.worker SPEC` under torchrun, one process per rank.

Nothing heavy is imported before the work begins: a failure to read the spec is said at once, and a helper process that imports this module
again costs nothing.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from infra.job import JobSpec


def environment(spec: JobSpec) -> dict[str, str]:
    """Nothing is settled before the imports."""
    return {}


def preload(spec: JobSpec) -> None:
    """Import what the work needs."""
    import tasks.training.session  # noqa: F401


def main(spec: JobSpec) -> int:
    """Train a phase; returns the exit code."""
    from tasks.training.session import run

    return run(spec)


if __name__ == "__main__":
    from infra.job import JobSpec

    sys.exit(main(JobSpec.read(sys.argv[1])))
