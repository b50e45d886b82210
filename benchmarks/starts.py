"""What it costs to start a worker, afresh and forked: `python -m benchmarks.starts`.

Each job imports what its stage needs, finds that nobody holds the lease of its workspace and ends: its seconds are those of a start, seen
from the flow. One at a time; medians. The first forked one waits for the server's imports. Prints Markdown.
"""

from __future__ import annotations

import importlib
import statistics
import sys
import tempfile
import time
from pathlib import Path

from infra.job import JobSpec, machine
from infra.launchers.forked import forked
from infra.launchers.process import Start, spawned
from infra.launchers.torchrun import worker_environment
from infra.launchers.watch import run
from infra.site import Site

JOBS = (("training", "train-arm"), ("evaluation", "evaluate"), ("posttraining", "sft-main"), ("posttraining", "measure-main"))
TIMES = 4
AFRESH = """
import sys
from importlib import import_module
from infra.job import JobSpec
worker, spec = import_module(sys.argv[1]), JobSpec.read(sys.argv[2])
worker.preload(spec)
sys.exit(worker.main(spec))
"""


def main() -> None:
    """Print the table."""
    site = Site.parse({})
    print(f"machine: {machine()}\n\n| job | afresh, s | first forked, s | forked, s |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for craft, stage in JOBS:
            place = Path(folder) / f"{stage}.json"
            module = f"tasks.{craft}.worker"
            spec = JobSpec(stage=stage, craft=craft, fingerprint="f" * 32, workspace_key="w", store=f"{folder}/store", config={})
            place.write_text(spec.model_dump_json())
            environment = worker_environment(spec, site)
            settings = importlib.import_module(module).environment(spec)
            afresh = _seconds(spawned([sys.executable, "-c", AFRESH, module, str(place)], environment | settings), Path(folder))
            again = _seconds(forked(module, place, environment, settings | {"STAGE": stage}), Path(folder))  # each its own server
            print(f"| {stage} | {statistics.median(afresh):.2f} | {again[0]:.2f} | {statistics.median(again[1:]):.2f} |")


def _seconds(start: Start, folder: Path) -> list[float]:
    found = []
    for _ in range(TIMES):
        began = time.perf_counter()
        run(start, folder / "job", on_line=_unheard, on_progress=_unheard)
        found.append(time.perf_counter() - began)
    return found


def _unheard(*_: object) -> None:
    """The job says that it found nothing."""


if __name__ == "__main__":
    main()
