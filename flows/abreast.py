"""Stages side by side: each begins as soon as what it reads is there, as many at once as this machine has processors."""

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
    waiting, running = list(nodes), dict[Future[None], Node]()
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
