"""Several ranks of a collective function for the price of one import: `python ranks.py FOLDER WORLD,WORLD... module:function`.

torch and megatron-core are imported once and the ranks are forked from there. For every world size the function is called on each rank with
the folder; what rank 0 returns is written to FOLDER/<world>.json.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import traceback
from importlib import import_module
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[3]


def collective(folder: Path, worlds: list[int], function: str, timeout: float = 120.0) -> dict[int, Any]:
    """Run `function` on ranks of each world size; what rank 0 returned, by world size. Fails when a rank fails or the time is up."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, __file__, str(folder), ",".join(map(str, worlds)), function]
    environment = os.environ | {
        "PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "PYTHONWARNINGS": "ignore",
    }  # fmt: skip
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    try:
        output, _ = process.communicate(timeout=timeout)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, 9)
            process.communicate()
    assert process.returncode == 0, output[-6000:]
    return {world: json.loads((folder / f"{world}.json").read_text()) for world in worlds}


def main(folder: Path, worlds: list[int], function: str) -> int:
    """Import everything, then fork; 0 where every rank ended well."""
    import_module("tasks.training.trainer")
    module, _, name = function.partition(":")
    target = getattr(import_module(module), name)
    return max(_world(folder, size, target) for size in worlds)


def _world(folder: Path, size: int, target: Any) -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    children = []
    for rank in range(size):
        child = os.fork()
        if child == 0:
            os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_WORLD_SIZE": str(size),
                           "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}  # fmt: skip
            _rank(folder, rank, size, target)
        children.append(child)
    worst = 0
    while children:
        child, status = os.wait()
        children.remove(child)
        if status:
            worst = 1
            for other in children:  # they wait for the one that is gone
                os.kill(other, 9)
    return worst


def _rank(folder: Path, rank: int, size: int, target: Any) -> None:
    try:
        found = target(folder)
        if rank == 0:
            (folder / f"{size}.json").write_text(json.dumps(found))
    except BaseException:
        traceback.print_exc()
        sys.stdout.flush()
        os._exit(1)
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), [int(w) for w in sys.argv[2].split(",")], sys.argv[3]))
