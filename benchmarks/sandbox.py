"""Sandbox: what one sample of generated code costs, under each protection that this machine offers.

    python -m benchmarks.sandbox --samples 50

The sample prints a product: what is measured is starting, locking in, and tidying up. `bare` is the interpreter alone, without any of it.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import statistics
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from tasks.posttraining.sandbox import Level, level, run_code

CODE = "print(6 * 7)"


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=50)
    samples = parser.parse_args().samples
    strongest = level()
    unlocked = Level((), strongest.user, strongest.python)
    ways: dict[str, Callable[[], object]] = {
        "bare": lambda: subprocess.run([strongest.python, "-I", "-S", "-c", CODE], capture_output=True, check=True),
        "resource limits alone": lambda: run_code(CODE, under=unlocked),
    }
    if strongest != unlocked:
        ways[str(strongest)] = lambda: run_code(CODE, under=strongest)
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {samples} samples\n")
    print("| protection | wall ms, median | wall ms, slowest of 20 | CPU ms | samples/s, side by side |\n|---|---|---|---|---|")
    for name, run in ways.items():
        run()
        wall, processor = _cost(run, samples)
        print(f"| {name} | {wall[0]:.0f} | {wall[1]:.0f} | {processor:.0f} | {_throughput(run, samples):.0f} |", flush=True)


def _cost(run: Callable[[], object], samples: int) -> tuple[tuple[float, float], float]:
    """((median, 95th percentile) of wall, mean of processor) milliseconds of one sample, children included."""
    before, walls = _processor(), []
    for _ in range(samples):
        began = time.perf_counter()
        run()
        walls.append(1000 * (time.perf_counter() - began))
    slow = sorted(walls)[min(len(walls) - 1, int(0.95 * len(walls)))]
    return (statistics.median(walls), slow), 1000 * (_processor() - before) / samples


def _throughput(run: Callable[[], object], samples: int) -> float:
    """Samples per second with as many at once as there are cores."""
    began = time.perf_counter()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda _: run(), range(samples)))
    return samples / (time.perf_counter() - began)


def _processor() -> float:
    children, own = resource.getrusage(resource.RUSAGE_CHILDREN), resource.getrusage(resource.RUSAGE_SELF)
    return children.ru_utime + children.ru_stime + own.ru_utime + own.ru_stime


if __name__ == "__main__":
    main()
