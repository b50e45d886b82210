"""Process of the stages `train-*`: `python -m tasks.training.worker SPEC` under torchrun, one process per rank.

Nothing heavy is imported before the work begins: a failure to read the spec is said at once, and a helper process that imports this module
again costs nothing.
"""

from __future__ import annotations

import sys


def main(spec: str) -> int:
    """Train the phase that the job spec in the file `spec` describes; returns the exit code."""
    from infra.job import JobSpec

    job = JobSpec.read(spec)
    from tasks.training.session import run

    return run(job)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
