"""Evaluation of every confirmed checkpoint while its phase is trained, beside the training, which it never holds up and never ends.

Opt-in by `evaluation.every_checkpoint`. A checkpoint that is to be measured is committed as an artifact of its stage, so that retention
leaves it alone; conversion and evaluation of it then come into being as any stage does.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from contracts.config import digest
from contracts.errors import StageError
from flows import convert, evaluate
from flows.plan import Node, Plan
from infra.job import Summary, machine, versions
from infra.store import Artifact, Part, Workspace
from infra.tracking import BESIDE_SPOOL
from tasks.training.config import Job

if TYPE_CHECKING:
    from flows.desk import Desk
    from flows.stage import Outcome, Watch

__all__ = ["EVALUATED", "FAILED", "evaluated_beside"]

EVALUATED, FAILED, ALL = "evaluation", "evaluation-failed", "checkpoint-evaluations"
"""Records: beside a checkpoint's artifact what it scored, or why it could not be measured; beside the phase's all of it by step."""
LOOK_SECONDS = 2.0
WAIT_SECONDS = 120.0
"""The longest that the end of a phase waits for the evaluation that is running then."""
LEAVE_SECONDS = 5.0
"""The longest that it is waited for where the phase itself was stopped or failed."""
NICENESS = 10

Make = Callable[[Node, "Desk", "Watch"], "Outcome"]
"""`flows.stage.perform`."""


@contextmanager
def evaluated_beside(node: Node, desk: Desk, watch: Watch, workspace: Workspace, make: Make) -> Iterator[Callable[[Artifact], None]]:
    """Measure the checkpoints of `node` while the block trains it, where it is a phase and the recipe asks for that.

    One at a time, the newest first; those that were overtaken meanwhile are passed over, and left to retention. The last one is the
    phase's own artifact, for the stages that follow. Yields what is to be told that artifact: it waits for the running evaluation, within
    a bound, and writes the record `checkpoint-evaluations`. Nothing here raises: what goes wrong is logged, and recorded beside the
    checkpoint.
    """
    if node.kind.craft != "training" or not desk.plan.recipe.evaluation.every_checkpoint:
        yield lambda artifact: None
        return
    beside = _Beside(node, desk, watch, workspace, make)
    beside.thread.start()
    try:
        yield beside.conclude
    finally:
        beside.leave()


class _Beside:
    def __init__(self, node: Node, desk: Desk, watch: Watch, workspace: Workspace, make: Make) -> None:
        self._node, self._desk, self._watch, self._workspace, self._make = node, desk, watch, workspace, make
        self._steps = Job.parse(node.config, node.name).phase.steps
        self._seen: set[str] = set()
        self._enough, self._over = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self._work, daemon=True, name="checkpoint-evaluation")

    def conclude(self, artifact: Artifact) -> None:
        """The phase is trained: wait for what is running, within the bound, and record everything beside `artifact`."""
        self._enough.set()
        self.thread.join(WAIT_SECONDS)
        self._over.set()
        try:
            self._desk.store.put_record(artifact, ALL, {"steps": self._results()})
        except Exception as error:
            self._watch.log.warning("evaluations of checkpoints could not be recorded: %s", error)

    def leave(self) -> None:
        """End the running evaluation, if one still runs; the next run of the stage makes it."""
        self._enough.set()
        self._over.set()
        self.thread.join(LEAVE_SECONDS)

    def _work(self) -> None:
        if sys.platform == "linux":  # there niceness is a thread's, and the processes it starts inherit it
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        while not self._enough.wait(LOOK_SECONDS):
            try:
                part = self._newest()
            except Exception as error:
                self._watch.log.warning("no look at the checkpoints of %s: %s", self._node.name, error)
                continue
            if part is not None:
                self._evaluate(part)

    def _newest(self) -> Part | None:
        """The newest checkpoint since the last look; the others since then are passed over."""
        parts = [part for part in self._workspace.parts() if part.name.startswith("step-") and part.name not in self._seen]
        self._seen |= {part.name for part in parts}
        fresh = [part for part in parts if _step(part) < self._steps and not part.meta["final"] and "diverged_at" not in part.meta]
        for part in fresh[:-1]:
            self._watch.log.info("checkpoint of step %d is passed over: there is a newer one", _step(part))
        return fresh[-1] if fresh else None

    def _evaluate(self, part: Part) -> None:
        step, began = _step(part), time.monotonic()
        checkpoint: Artifact | None = None
        try:
            checkpoint = self._commit(part)
            measured = self._measure(checkpoint, step)
            metrics, seconds = measured.manifest.metrics, round(time.monotonic() - began, 1)
            record = {"step": step, "metrics": metrics, "evaluate": measured.fingerprint, "seconds": seconds}
            self._desk.store.put_record(checkpoint, EVALUATED, record)
            self._spool(step, metrics)
            self._watch.log.info("checkpoint of step %d measured in %.1f s", step, seconds)
        except Exception as error:
            if not self._over.is_set():
                self._fail(checkpoint, step, error)

    def _fail(self, checkpoint: Artifact | None, step: int, error: Exception) -> None:
        self._watch.log.warning("checkpoint of step %d was not measured, the training goes on: %s", step, error)
        if checkpoint is None:
            return
        try:
            self._desk.store.put_record(checkpoint, FAILED, {"step": step, "reason": str(error)})
        except Exception as another:
            self._watch.log.warning("that could not be recorded: %s", another)

    def _commit(self, part: Part) -> Artifact:
        """The checkpoint as an artifact of the phase's stage; workspace and step are its identity, so a lengthened phase has it too."""
        node, step, store = self._node, _step(part), self._desk.store
        fingerprint = digest({"checkpoint": step, "workspace": node.workspace_key})
        known = store.find(fingerprint, node.name)
        if known is not None:
            return known
        summary = Summary.parse(part.meta["summary"])
        return self._workspace.commit(
            fingerprint,
            [part],
            name=f"step {step}",
            stage_version=node.kind.version,
            config=node.recorded() | {"checkpoint": step},
            inputs={role: store.require(one.name, one.fingerprint) for role, one in node.inputs.items()},
            counts=summary.counts,
            metrics=summary.metrics,
            evidence=summary.evidence,
            layouts=summary.layouts,
            interventions=summary.interventions,
            versions=versions(),
            machine=machine(),
        )

    def _measure(self, checkpoint: Artifact, step: int) -> Artifact:
        """The evaluation of `checkpoint`."""
        from flows.stage import Watch

        plan = self._plan(checkpoint)
        desk = self._desk.over(plan)
        watch = Watch(_Told(self._watch.log, {"of": f"checkpoint of step {step}"}), lambda done, total, note: None, self._check)
        found = checkpoint
        for one in plan.nodes[1:]:
            found = self._make(one, desk, watch).artifact
            shutil.rmtree(desk.job_dir(one), ignore_errors=True)
        return found

    def _plan(self, checkpoint: Artifact) -> Plan:
        """What is made of `checkpoint`: the line's last stages, as if its phase had ended there and were the last."""
        shards = self._node.inputs["tokenize"]
        documents, tokens = shards.inputs["curate"], shards.inputs["tokenizer"]
        plan = Plan(self._desk.plan.recipe, {self._node.name: checkpoint.fingerprint})
        trained = plan.add(self._node.name, self._node.kind, self._node.config)
        converts = plan.recipe.evaluation.backend != "megatron"
        model = convert.add(plan, trained, tokens, documents) if converts else None
        evaluate.add(plan, model=model, checkpoint=trained, tokenizer=tokens, shards=shards, curate=documents)
        return plan

    def _check(self) -> None:
        if self._over.is_set():
            raise StageError("the phase has ended", where=self._node.name, do="run the evaluation of this checkpoint again")

    def _spool(self, step: int, metrics: Mapping[str, float]) -> None:
        """For MLflow, at that step of the phase's curves."""
        line = [step, time.time_ns() // 1_000_000, {f"evaluation/{name}": value for name, value in metrics.items()}]
        with (self._desk.job_dir(self._node) / BESIDE_SPOOL).open("a") as file:
            file.write(json.dumps(line) + "\n")

    def _results(self) -> dict[str, dict[str, float]]:
        """Step -> metrics, of all attempts at this phase."""
        found: dict[int, dict[str, float]] = {}
        store = self._desk.store
        for manifest in store.manifests_of(self._node.name, self._node.workspace_key):
            step = int(manifest.config.get("checkpoint", self._steps))
            artifact = store.find(manifest.fingerprint, manifest.stage) if step < self._steps else None
            record = store.records(artifact).get(EVALUATED) if artifact is not None else None
            if record is not None:
                found[step] = record["metrics"]
        return {str(step): found[step] for step in sorted(found)}


class _Told(logging.LoggerAdapter[Any]):
    """Says of which checkpoint a line is."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        return f"{(self.extra or {})['of']}: {msg}", kwargs


def _step(part: Part) -> int:
    return int(part.meta["step"])
