"""`python -m infra.stack.prefect_worker ...` is `python -m prefect ...` whose workers of type `process` report a crash once.

Prefect's own worker (3.8.8) reports a killed process twice: when it is gone, and again after a look for hooks of the flow, 2 to 20 s later.
The server refuses the second report while the run is over, but not once somebody has pressed Retry: a run that waits again, or already
runs again, becomes Crashed for what ended before.
"""

from __future__ import annotations

import runpy
import warnings
from collections.abc import Sequence

import anyio.abc
import httpx
from prefect.client.schemas.objects import FlowRun, State
from prefect.exceptions import PrefectException
from prefect.workers.process import ProcessJobConfiguration, ProcessWorker, ProcessWorkerResult

warnings.filterwarnings("ignore", message="Type 'CrashesOnce'.* key 'process'")  # that it takes the place of Prefect's own is meant


class CrashesOnce(ProcessWorker):
    """Prefect's process worker; an attempt that is known to be over is not reported again, however the run goes on."""

    async def run(
        self, flow_run: FlowRun, configuration: ProcessJobConfiguration, task_status: anyio.abc.TaskStatus[int] | None = None
    ) -> ProcessWorkerResult:
        """Run a flow in a process of its own, to its end.

        Returns:
            Its pid and exit code; the code is 0 as well where there is nothing left to report.
        """
        result = await super().run(flow_run, configuration, task_status)
        end = await self._end(flow_run) if result.status_code != 0 else None
        if end is None:
            return result
        if end.is_crashed():  # the second report would have said so in the run's log
            self.get_flow_run_logger(flow_run).error("%s", end.message)
        return ProcessWorkerResult(status_code=0, identifier=result.identifier)

    async def _end(self, flow_run: FlowRun) -> State | None:
        try:
            return end_of_attempt(flow_run.state, await self.client.read_flow_run_states(flow_run.id))
        except (PrefectException, httpx.HTTPError, OSError):
            return None


def end_of_attempt(began: State | None, states: Sequence[State]) -> State | None:
    """The state that an attempt ended with, whatever came after it; None where its end is not known.

    Args:
        began: the state in which the worker found the run: scheduled, or put back in the queue.
        states: all states of the run, oldest first.
    """
    return next((state for state in states if state.is_final() and (began is None or state.timestamp > began.timestamp)), None)


if __name__ == "__main__":
    runpy.run_module("prefect", run_name="__main__", alter_sys=True)
