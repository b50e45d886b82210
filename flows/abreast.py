"""Stages side by side: each begins as soon as what it reads is there, as many at once as this machine has processors.

Of those that could begin, the one goes first that most work waits for (critical path scheduling): an evaluation that nothing reads does not
hold up the fine-tuning that all branches start from.
"""

from __future__ import annotations

import contextvars
import os
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from flows.fence import gathering
from flows.plan import Node


def abreast(nodes: Sequence[Node], bring: Callable[[Node], None]) -> None:
    """Call `bring` for every node, none before its inputs among them. Where one fails, no other begins and those at work are ended.

    Args:
        bring: brings one stage into being; called in a thread of its own, with the context of the caller.

    Raises:
        Exception: what the first `bring` that failed raised.
    """
    ways = _ways(nodes)
    waiting, running = sorted(nodes, key=lambda node: -ways[id(node)]), dict[Future[None], Node]()
    lanes = len(os.sched_getaffinity(0))
    with gathering() as end, ThreadPoolExecutor(lanes) as pool:
        try:
            while waiting or running:
                ahead = {id(one) for one in [*waiting, *running.values()]}
                ready = [node for node in waiting if not any(id(one) in ahead for one in node.inputs.values())]
                for node in ready[: lanes - len(running)]:
                    waiting.remove(node)
                    running[pool.submit(contextvars.copy_context().run, bring, node)] = node
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    running.pop(future)
                    future.result()
        except BaseException:
            end()
            raise


def _ways(nodes: Sequence[Node]) -> dict[int, float]:
    """Effort along the longest way from the beginning of each node, by its id, to the end of all; `nodes` stand after their inputs."""
    ways = {id(node): 0.0 for node in nodes}
    for node in reversed(nodes):
        ways[id(node)] += node.kind.effort
        for one in node.inputs.values():
            ways[id(one)] = max(ways.get(id(one), 0.0), ways[id(node)])
    return ways
