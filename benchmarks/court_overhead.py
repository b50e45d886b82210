"""Prefect's share of a large sweep in one process: real tasks, store, leases and metrics around runs whose own work is nothing.

    python -m benchmarks.court_overhead --runs 100

Needs the local stack (`smolflow up`); prints Markdown. Whatever a run takes beyond its stages' own seconds is counted as Prefect's.
"""

from __future__ import annotations

import argparse
import os
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.desk import Desk
from flows.plan import Arm, Node, Plan, StageKind
from flows.sweep import Sweep
from infra.job import Progress, Summary, machine
from infra.stack import client_environment

MINUTE = 60.0
BODY = "benchmarks.court_overhead:nothing"


def nothing(config: Any, inputs: Mapping[str, Path], out: Path, progress: Progress) -> Summary:
    """The body of every stage here."""
    (out / "nothing.txt").write_text("nothing")
    return Summary(metrics={"nothing": 0.0})


def sweep_of(desk: Desk, runs: int) -> Node:
    """A sweep of `runs` runs that are in no store yet, each with the two stages of an arm."""
    label = uuid.uuid4().hex
    arms = []
    for number in range(runs):
        plan = Plan(desk.plan.recipe)
        train = plan.add("train-arm", StageKind("train", 0, "nothing", body=BODY), {"number": number, "label": label})
        plan.add("evaluate", StageKind("evaluate", 0, "nothing", body=BODY), {}, checkpoint=train)
        arms.append(Arm(f"arm{number}.0", (), plan))
    return Plan(desk.plan.recipe).add("court-overhead", StageKind("court", 0, "nothing", body=BODY), {}, arms=tuple(arms))


@flow(name="court-overhead")
def sweep(runs: int) -> tuple[float, float]:
    """(wall seconds of the sweep, seconds of its stages' own work)."""
    desk = Desk.of("smoke")
    node = sweep_of(desk, runs)
    began = time.perf_counter()
    Sweep(node, desk, "cpu", get_run_logger(), lambda done, total, note: None, lambda: None, "court-overhead").run()
    wall = time.perf_counter() - began
    stages = [one for arm in node.arms for one in (arm.train, arm.evaluate)]
    return wall, sum(float(desk.store.require(one.name, one.fingerprint).manifest.cost["seconds"]) for one in stages)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100)
    runs = parser.parse_args().runs
    site = Desk.of("smoke").site
    os.environ.update(client_environment(site))
    lanes = len(os.sched_getaffinity(0))
    with temporary_settings({PREFECT_API_URL: site.prefect_api}):  # prefect is imported already
        wall, work = sweep(runs)
    own = (wall * lanes - work) / runs
    print(f"machine: {machine()}\n")
    print(f"{runs} runs, {lanes} side by side: {wall:.1f} s, of which the stages' own work {work / lanes:.1f} s")
    print(f"beside it {own:.2f} s a run: {own / (MINUTE + own):.2%} of a sweep of one-minute runs")


if __name__ == "__main__":
    main()
