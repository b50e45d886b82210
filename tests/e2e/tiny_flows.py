"""Flows that a real worker runs in the tests: they say where they are, or hold a job until it is ended."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from prefect import flow, get_run_logger

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
