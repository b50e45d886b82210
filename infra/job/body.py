"""Running a stage's body as a worker process."""

from __future__ import annotations

import contextlib
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from contracts.errors import IntegrityError, SmolflowError
from infra.job.folder import Job, Progress, ProgressFile
from infra.job.spec import Exit, JobResult, JobSpec, Stopped, Summary
from infra.store import Part, Store, Workspace

RESULT = "result"
"""Name of the part that `run_body` seals."""

Body = Callable[[dict[str, Any], Mapping[str, Path], Path, Progress], Summary]
"""Called with (config, inputs, out, progress)."""
LongBody = Callable[[dict[str, Any], Mapping[str, Path], Path, Progress, Workspace], Summary]
"""Called with the workspace too, where it keeps parts of its own: what was done before it was stopped is not done again."""


@contextlib.contextmanager
def stop_on_signal() -> Iterator[Callable[[], None]]:
    """Within, the first SIGTERM or SIGINT raises `Stopped` in the main thread; later ones are ignored, so that tidying up goes on.

    Yields a function after which signals are ignored: for the last lines of a worker, which write its result.
    """
    numbers = (signal.SIGTERM, signal.SIGINT)

    def ignore() -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)

    def stop(number: int, frame: FrameType | None) -> None:
        ignore()
        raise Stopped(f"stopped by {signal.Signals(number).name}; start it again to go on")

    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield ignore
    finally:
        for number, action in before.items():
            signal.signal(number, action)


def run_body(spec: JobSpec, body: Body) -> int:
    """Run a body as a worker process and return its exit code.

    Joins the workspace, brings the inputs here, calls `body(config, inputs, out, progress)`, seals what it left in `out` as the part
    "result" with the Summary as its meta, and writes result.json in any case. A result that an earlier attempt sealed is taken as it is.
    """
    return run_long_body(spec, lambda config, inputs, out, progress, workspace: body(config, inputs, out, progress))


def run_long_body(spec: JobSpec, body: LongBody) -> int:
    """As `run_body`, with a body that keeps what it has done so far as parts of the workspace."""
    job = Job.from_environment()
    job.result_file.unlink(missing_ok=True)
    with stop_on_signal() as ignore_signals:
        try:
            part = _result_part(spec, job, body)
            result = JobResult(exit=Exit.DONE, part=part.name, summary=part.meta)
        except (Exception, Stopped) as error:
            result = JobResult.of_error(error)
            if not isinstance(error, SmolflowError | Stopped):
                traceback.print_exc()
            print(result.reason, file=sys.stderr, flush=True)
        ignore_signals()
        job.write_result(result)
    return int(result.exit)


def _result_part(spec: JobSpec, job: Job, body: LongBody) -> Part:
    store = Store.open(spec.store)
    with store.attach(spec.stage, spec.workspace_key, spec.lease) as workspace:
        return result_part(
            workspace,
            job.folder,
            lambda out: body(spec.config, job.materialise(store, spec.inputs), out, ProgressFile(job.progress_file), workspace),
        )


def result_part(workspace: Workspace, folder: Path, make: Callable[[Path], Summary]) -> Part:
    """The part "result", its Summary as meta: what an earlier attempt sealed, or what `make(out)` leaves in a folder below `folder`."""
    sealed = _sealed_before(workspace)
    if sealed is not None:
        return sealed
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    summary = make(out)
    part = workspace.put(RESULT, out, summary.model_dump(mode="json"))
    shutil.rmtree(out, ignore_errors=True)
    return part


def _sealed_before(workspace: Workspace) -> Part | None:
    sealed = next((part for part in workspace.parts() if part.name == RESULT), None)
    if sealed is None:
        return None
    try:
        workspace.verify(sealed)
    except IntegrityError as error:
        print(f"made again: {error}", file=sys.stderr, flush=True)
        workspace.drop(sealed)
        return None
    return sealed
