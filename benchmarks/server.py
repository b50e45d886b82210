"""How the Prefect server on SQLite stands clients that give up early: as it is, and with its garbage collector off the event loop.

    python -m benchmarks.server --seconds 30

Four clients create flow runs, set states and update artifacts, and wait between 20 ms and 5 s for each answer. Prints, for both ways of
starting the server, how many requests were answered, and the longest time that nobody could write to the database. Markdown.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import httpx

from infra.job import machine
from infra.stack.ports import free_port

CLIENTS, PATIENCE = 4, (0.02, 0.05, 0.1, 0.2, 0.5, 5.0)
WAYS = {"as it is": "prefect", "collector beside": "infra.stack.prefect_server"}


def main() -> None:
    """Measure both ways, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30)
    seconds = parser.parse_args().seconds
    print(f"machine: {machine()}; {CLIENTS} clients, {seconds:.0f} s\n")
    print("| server | answered | gave up | no write possible for up to, s |\n|---|---|---|---|")
    for way, module in WAYS.items():
        with tempfile.TemporaryDirectory() as home:
            answered, lost, held = _measure(Path(home), module, seconds)
        print(f"| {way} | {answered} | {lost} | {held:.1f} |", flush=True)


def _measure(home: Path, module: str, seconds: float) -> tuple[int, int, float]:
    port, database = free_port(), home / "prefect.db"
    api = f"http://127.0.0.1:{port}/api"
    environment = os.environ | {
        "PREFECT_HOME": str(home), "PREFECT_API_URL": api, "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{database}",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1",
    }  # fmt: skip
    program = [sys.executable, "-m", module, "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with subprocess.Popen(program, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            _await(api)
            flow = str(httpx.post(f"{api}/flows/", json={"name": "f"}, timeout=60).json()["id"])
            end = time.monotonic() + seconds
            counts: list[tuple[int, int]] = []
            clients = [threading.Thread(target=lambda seed=seed: counts.append(_client(api, flow, seed, end))) for seed in range(CLIENTS)]
            for client in clients:
                client.start()
            held = _longest_hold(database, end)
            for client in clients:
                client.join()
        finally:
            server.send_signal(signal.SIGKILL)
    return sum(one for one, _ in counts), sum(lost for _, lost in counts), held


def _await(api: str) -> None:
    while True:
        try:
            if httpx.get(f"{api}/health", timeout=2).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.5)


def _client(api: str, flow: str, seed: int, end: float) -> tuple[int, int]:
    dice, run, artifact, answered, lost = random.Random(seed), "", "", 0, 0
    with httpx.Client(base_url=api) as http:
        while time.monotonic() < end:
            try:
                what, patience = dice.random(), dice.choice(PATIENCE)
                if not run or what < 0.2:
                    said = http.post("/flow_runs/", json={"flow_id": flow, "state": {"type": "PENDING"}}, timeout=patience)
                    run = str(said.json()["id"]) if said.is_success else run
                elif what < 0.5:
                    state = {"type": dice.choice(["RUNNING", "PENDING", "SCHEDULED"])}
                    said = http.post(f"/flow_runs/{run}/set_state", json={"state": state, "force": True}, timeout=patience)
                elif not artifact:
                    said = http.post("/artifacts/", json={"key": f"a{seed}", "type": "progress", "data": 1.0}, timeout=patience)
                    artifact = str(said.json()["id"]) if said.is_success else artifact
                else:
                    said = http.patch(f"/artifacts/{artifact}", json={"data": 100 * dice.random()}, timeout=patience)
                answered += said.is_success
            except httpx.TransportError:
                lost += 1
    return answered, lost


def _longest_hold(database: Path, end: float) -> float:
    longest, since = 0.0, time.monotonic()
    while time.monotonic() < end:
        probe = sqlite3.connect(database, timeout=0, isolation_level=None)
        try:
            probe.execute("BEGIN IMMEDIATE")
            probe.execute("ROLLBACK")
            since = time.monotonic()
        except sqlite3.OperationalError:
            longest = max(longest, time.monotonic() - since)
        probe.close()
        time.sleep(0.05)
    return longest


if __name__ == "__main__":
    main()
