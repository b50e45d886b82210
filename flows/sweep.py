"""The runs of a court or a qualification: brought into being side by side, each run and each of its steps a task of the flow."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from prefect import task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.task_runners import ThreadPoolTaskRunner

from contracts.errors import StageError
from flows.desk import Desk
from flows.elsewhere import run_elsewhere
from flows.plan import Arm, Node
from flows.stage import Watch, already_there, perform
from infra.job import Progress
from infra.tracking import Parent, Tracker

WAIT_SECONDS = 24 * 3600.0
"""Another sweep may be at a run that both need, a baseline's for example: it is waited for, not done twice."""
LANES_ELSEWHERE = 64
"""Runs handed to other pools at once; their limits and queues decide how many work."""


@dataclass
class Sweep:
    """One sweep while it works.

    Args:
        node: the stage whose arms are run.
        pool: the pool of this process; steps that belong to another one are run there.
        progress: told how far the whole sweep is.
        check: raises when this attempt must end.
    """

    node: Node
    desk: Desk
    pool: str
    log: logging.Logger | logging.LoggerAdapter[Any]
    progress: Progress
    check: Callable[[], None]
    table_key: str
    within: Parent | None = None
    """MLflow run that the sweep's own is nested in."""
    _over: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _shares: dict[str, float] = field(default_factory=dict)
    _states: dict[str, str] = field(default_factory=dict)

    def run(self) -> None:
        """Bring every arm's evaluation into being. What is there is not done again; one that fails does not stop the others.

        Raises:
            ArtifactMissing: something that the baseline too rests on is not in the store; names the stage to run first.
            StageError: at least one run failed; all others are there.
        """
        waiting = [arm for arm in self.node.arms if not already_there(arm.evaluate, self.desk.of_arm(arm))]
        self._states = {arm.label: "waiting" if arm in waiting else "reused" for arm in self.node.arms}
        self._show()
        if not waiting:
            return
        for one in self.desk.plan.needed_first(self.node):  # what only an arm reads is made for it
            self.desk.store.require(one.name, one.fingerprint)
        failed = self._side_by_side(waiting)
        if failed:
            reasons = "; ".join(f"{label}: {reason}" for label, reason in failed.items())
            raise StageError(
                f"{len(failed)} of {len(self.node.arms)} runs failed, the others are done: {reasons[:1500]}",
                where=self.node.name,
                do="run it again, which repeats only these; or give one up with its reason in `left_out` of the court",
            )

    def _side_by_side(self, arms: list[Arm]) -> dict[str, str]:
        failed: dict[str, str] = {}

        def run(label: str) -> None:
            arm = next(arm for arm in arms if arm.label == label)
            self._set(label, "running")
            try:
                self._steps(arm)
            except Exception as error:
                failed[label] = str(error).partition("\n")[0]
                self._set(label, "failed")
                raise
            self._set(label, "done")

        one_run = task(name="run", task_run_name="{label}", cache_policy=NO_CACHE, persist_result=False)(run)
        lanes: ThreadPoolTaskRunner[None] = ThreadPoolTaskRunner(max_workers=self._lanes(arms))
        with lanes as runner:
            try:
                futures = [runner.submit(one_run, parameters={"label": arm.label}) for arm in arms]
                for future in futures:
                    future.wait()
            except BaseException:
                self._over.set()  # every run's process saves what it has and ends
                raise
        return failed

    def _steps(self, arm: Arm) -> None:
        desk = self.desk.of_arm(arm)
        steps = [one for one in arm.plan.upstream(arm.evaluate) if all(one is not shared for shared in self.desk.plan.nodes)]
        todo = [one for one in [*steps, arm.evaluate] if not already_there(one, desk)]
        names = [one.name for one in todo]

        def step(stage: str) -> None:
            at = names.index(stage)
            self._step(arm, todo[at], desk, at / len(todo), 1 / len(todo))

        for one in todo:
            task(name=one.kind.name, task_run_name=f"{arm.label} {{stage}}", cache_policy=NO_CACHE, persist_result=False)(step)(one.name)

    def _step(self, arm: Arm, one: Node, desk: Desk, done: float, share: float) -> None:
        where = desk.site.pool_of(one.kind.name)
        if where != self.pool:
            run_elsewhere(one, desk, where, low_priority=True)
            self._advance(arm.label, done + share, one.name)
            return
        parent = Parent(name=self.node.name, key=f"{self.node.name}-{self.node.workspace_key}", within=self.within)
        title, recipe, folder = f"{arm.label} {one.name}", desk.plan.recipe.name, desk.job_dir(one)
        tracker = Tracker.for_stage(desk.site, recipe, one.name, one.workspace_key, folder, title=title, parent=parent)

        def tell(part: float, total: float, note: str) -> None:
            self._advance(arm.label, done + share * (part / total if total else 0.0), f"{title}: {note}")

        outcome = perform(one, desk, Watch(self.log, tell, self._check, tracker.shipping(folder), WAIT_SECONDS))
        self.log.info("%s %s %s in %.1f s", arm.label, one.name, outcome.state, outcome.seconds)

    def _lanes(self, arms: list[Arm]) -> int:
        """How many runs go side by side: in this process as many as the processors carry, elsewhere as the pools let in."""
        if self.desk.site.pool_of(arms[0].train.kind.name) != self.pool:
            return LANES_ELSEWHERE
        wanted = self.node.parallel
        ranks = max(arm.train.processes for arm in arms)
        return wanted or max(1, len(os.sched_getaffinity(0)) // ranks)

    def _check(self) -> None:
        if self._over.is_set():
            raise StageError("the sweep was ended", where=self.node.name, do="run it again: what is done stays")
        try:
            self.check()
        except BaseException:
            self._over.set()
            raise

    def _advance(self, label: str, share: float, note: str) -> None:
        with self._lock:
            self._shares[label] = min(1.0, share)
            done = sum(1.0 if state in ("done", "reused") else self._shares.get(name, 0.0) for name, state in self._states.items())
            self.progress(done, len(self._states), note)

    def _set(self, label: str, state: str) -> None:
        with self._lock:
            self._states[label] = state
        self._advance(label, 1.0 if state == "done" else 0.0, f"{label} {state}")
        if state != "running":
            self._show()

    def _show(self) -> None:
        with self._lock:
            rows = [{"run": label, "state": state} for label, state in self._states.items()]
        create_table_artifact(rows, key=self.table_key, description=f"Runs of {self.node.name}")
