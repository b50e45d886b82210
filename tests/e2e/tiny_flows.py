"""Flows that a real worker runs in the tests: they say where they are, or hold a job until it is ended."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, Literal

from prefect import flow, get_client, get_run_logger, runtime
from prefect.client.schemas.objects import FlowRun
from prefect.states import AwaitingRetry

from infra.launchers.process import spawned
from infra.launchers.watch import run

SAVING = """
import os, pathlib, signal, subprocess, sys, time
stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
rank = subprocess.Popen([sys.executable, "-c", stubborn], start_new_session=True)
def save(*_):
    pathlib.Path("saved").write_text("step 13")
    sys.exit(75)
signal.signal(signal.SIGTERM, save)
pathlib.Path("pids").write_text(f"{os.getpid()} {rank.pid}")
time.sleep(600)
"""
"""A trainer: saves on SIGTERM; one of its ranks ignores it."""


@flow
def hello(steps: int = 3) -> int:
    """Say where a flow process is."""
    log = get_run_logger()
    log.info("folder %s", os.getcwd())
    log.info("site %s", os.environ["SMOLFLOW_SITE"])
    log.info("interpreter %s", sys.executable)
    return steps


@flow
def hold(job: str) -> None:
    """Run a job that ends only when it is told to."""
    log = get_run_logger()
    run(spawned([sys.executable, "-c", SAVING], os.environ), Path(job), on_line=log.info, on_progress=print, grace=3.0)


def press_retry(flow: Any, flow_run: FlowRun, state: Any) -> None:
    """Retry as soon as the worker has reported the crash; with `running`, hold the worker up until the run was taken again."""
    how = flow_run.parameters["retry"]
    if how == "never":
        return
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(flow_run.id, AwaitingRetry(), force=True)
        deadline = time.monotonic() + 60
        while how == "running" and client.read_flow_run(flow_run.id).run_count < 2 and time.monotonic() < deadline:
            time.sleep(0.2)


@flow(on_crashed=[press_retry])
def killed(retry: Literal["never", "waiting", "running"]) -> None:
    """Die at the first attempt as a process does that the kernel ends; be there for a while at the second."""
    if runtime.flow_run.run_count == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(5)
