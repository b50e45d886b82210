"""Times of the whole line, from a run that has ended: wall time by stage, Prefect's own share, checkpoint stall, a run with nothing to do.

    python -m benchmarks.line --recipe tiny

Needs the local stack (`smolflow up`) and a finished run of the recipe (`smolflow run --recipe tiny`, or `make demo`); prints Markdown.
Ends with 1 where an aim is missed; the last line names it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from typing import Any

from flows.desk import Desk
from infra.job import machine

HELP_RUNS, IDLE_RUNS = 7, 3
OWN_AIM, IDLE_AIM = 3.0, 15.0
"""Seconds that are not reached: Prefect's own share of one stage, and a run with nothing to do."""


def main() -> int:
    """Print every table.

    Returns:
        1 where an aim is missed.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", default="tiny")
    desk = Desk.of(parser.parse_args().recipe)
    print(f"machine: {machine()}\n")
    artifacts = {node.name: desk.store.require(node.name, node.fingerprint).manifest for node in desk.plan}
    runs = _flow_runs(desk, f"{desk.plan.recipe.name} · ")
    print("| stage | work, s | flow run, s | Prefect's own, s |\n|---|---|---|---|")
    total, owns = 0.0, dict[str, float]()
    for name, manifest in artifacts.items():
        work, flow = float(manifest.cost["seconds"]), runs.get(name)
        total += flow or work
        owns |= {name: flow - work} if flow else {}
        print(f"| {name} | {work:.1f} | {f'{flow:.1f}' if flow else '-'} | {f'{owns[name]:.2f}' if flow else '-'} |")
    print(f"| all stages | | {total:.1f} | |\n")
    for name, manifest in artifacts.items():
        ledger = manifest.evidence.get("ledger")
        if ledger:
            seconds = ledger["seconds"]
            stall = seconds["checkpointing"] / (seconds["checkpointing"] + seconds["productive"])
            print(
                f"{name}: checkpoint stall {stall:.2%} of step time; {manifest.metrics['tokens_per_second']:,.0f} tokens/s over all ranks"
            )
    command = [sys.executable, "-m", "deployments.command"]
    idle = _median([*command, "run", "--recipe", desk.reference], IDLE_RUNS)
    print(f"nothing-changed run: {idle:.2f} s (median of {IDLE_RUNS})")
    print(f"smolflow --help: {_median([*command, '--help'], HELP_RUNS):.2f} s (median of {HELP_RUNS})\n")
    missed = misses(owns, idle)
    print(f"missed: {'; '.join(missed)}" if missed else f"aims met: {len(owns)} stages, nothing-changed run")
    return 1 if missed else 0


def misses(owns: Mapping[str, float], idle: float) -> list[str]:
    """Aims that are missed, a phrase each.

    Args:
        owns: stage -> seconds of its flow run beyond its work, of stages that have a flow run.
        idle: seconds of a run with nothing to do.
    """
    found = [] if owns else ["Prefect's own share: no stage has a flow run on this server, so that it is not known"]
    found += [f"Prefect's own share of {name}: {own:.2f} s (aim: under {OWN_AIM:g})" for name, own in owns.items() if own >= OWN_AIM]
    return found + ([f"nothing-changed run: {idle:.2f} s (aim: under {IDLE_AIM:g})"] if idle >= IDLE_AIM else [])


def _flow_runs(desk: Desk, prefix: str) -> dict[str, float]:
    """Stage -> seconds of its newest completed flow run on the local Prefect server."""
    body = {"flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}}, "sort": "START_TIME_ASC", "limit": 200}
    request = urllib.request.Request(
        f"{desk.site.prefect_api}/flow_runs/filter", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        found: list[dict[str, Any]] = json.loads(answer.read())
    return {run["name"].removeprefix(prefix): float(run["total_run_time"]) for run in found if run["name"].startswith(prefix)}


def _median(command: list[str], runs: int) -> float:
    times = []
    for _ in range(runs):
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


if __name__ == "__main__":
    sys.exit(main())
