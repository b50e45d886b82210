"""The stage contract: ask the store first; else work in a workspace under a lease and commit.

The manifest is the truth about what is done.
"""

from __future__ import annotations

import importlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contracts.errors import StageError
from flows.approval import outstanding
from flows.checkpoints import evaluated_beside
from flows.desk import Desk
from flows.gate import judge
from flows.plan import Node
from infra.job import Exit, Job, JobSpec, Progress, Summary, code_version, machine, result_part, versions
from infra.launchers.torchrun import Result, launch
from infra.store import Artifact, Part, StoreError, Workspace

RETRIES, RETRY_SECONDS = 2, 5.0
"""A worker that was stopped from outside, or lost its store, is started again; any other failure would only repeat itself."""


@contextmanager
def _unshown() -> Iterator[Callable[[Artifact], None]]:
    yield lambda artifact: None


@dataclass(frozen=True)
class Watch:
    """How a stage talks while it works."""

    log: logging.Logger | logging.LoggerAdapter[Any]
    progress: Progress
    check: Callable[[], None] | None = None
    """Called now and then while a worker runs; raises when this attempt must end (the server has given it up)."""
    during: Callable[[], AbstractContextManager[Callable[[Artifact], None]]] = _unshown
    """Entered while the lease is held, so that no other run of the stage shares the job's folder; what it gives is told the artifact."""
    wait: float = 0.0
    """Seconds to wait for another run that is at the same stage; its result is then taken."""
    present: Callable[[Artifact], None] | None = None
    """Called with the artifact before its gates are asked: shows it to a person who has a say."""


@dataclass(frozen=True)
class Outcome:
    """What became of a stage."""

    artifact: Artifact
    state: str
    """'reused' or 'ran'."""
    seconds: float


def perform(node: Node, desk: Desk, watch: Watch) -> Outcome:
    """Bring `node` into being, or find that it is there.

    Raises:
        ArtifactMissing: an input is not in the store; names the stage to run first.
        LeaseHeld: another run works on the same stage.
        GateError: the result or something it rests on is there, but a gate does not let it pass.
        StageError: the work failed.
    """
    began = time.monotonic()
    artifact = find(node, desk)
    state = "reused"
    if artifact is None:
        state = "ran"
        inputs = {role: desk.store.require(one.name, one.fingerprint) for role, one in node.inputs.items()}
        rests_on = [(one, find(one, desk)) for one in desk.plan.upstream(node)]
        relies_on = [line for one, there in rests_on if there is not None for line in judge(one, there, desk)]
        with (
            desk.store.begin(node.name, node.workspace_key, watch.wait) as workspace,
            watch.during() as tell,
            evaluated_beside(node, desk, watch, workspace, perform) as conclude,
        ):
            part, summary = _work(node, desk, watch, workspace)  # of a run that was waited for: what it left
            _refuse_moved_sources(node, summary, workspace, part)
            artifact = _commit(node, inputs, workspace, part, summary, relies_on, time.monotonic() - began)
            tell(artifact)
            conclude(artifact)
    if watch.present is not None:
        watch.present(artifact)
    for line in judge(node, artifact, desk):
        watch.log.info("%s", line)
    seconds = time.monotonic() - began
    watch.log.info("%s %s in %.1f s: %s", node.name, state, seconds, artifact.uri)
    return Outcome(artifact, state, seconds)


def _refuse_moved_sources(node: Node, summary: Summary, workspace: Workspace, part: Part) -> None:
    """What was copied must be what the fingerprint was made from: text may change while a run is on its way."""
    planned, copied = (None if node.pinned else node.recorded().get("outside")), summary.evidence.get("snapshot")
    if planned is not None and copied is not None and copied != planned:
        workspace.drop(part)
        raise StageError(
            "the text changed while it was copied", where=node.name, do="run the same command again, once nothing writes to the sources"
        )


def find(node: Node, desk: Desk) -> Artifact | None:
    """The artifact of `node`, where the store holds it. One that a person named by fingerprint must be there: it is never made.

    Raises:
        ArtifactMissing: a given (pinned) artifact is not in the store.
    """
    if node.pinned:
        return desk.store.require(node.name, node.pinned)
    if node.awaits is not None:
        return None
    return desk.store.find(node.fingerprint, node.name)


def already_there(node: Node, desk: Desk) -> bool:
    """Whether the store holds `node`'s artifact and its gates let it pass now; bounds may have changed since it was made.

    One that a person has yet to approve is not there: the stage has to ask.

    Raises:
        GateError: it is there, but a gate refuses it.
    """
    artifact = find(node, desk)
    if artifact is None or outstanding(node, artifact, desk):
        return False
    for _ in judge(node, artifact, desk):
        pass
    return True


def _work(node: Node, desk: Desk, watch: Watch, workspace: Workspace) -> tuple[Part, Summary]:
    """The part that holds the result, and what is to be said about it."""
    job = Job(desk.job_dir(node), desk.site.scratch)
    job.folder.mkdir(parents=True, exist_ok=True)
    if node.kind.craft:
        return _in_worker(node, desk, watch, workspace, job.folder)
    module, _, name = node.kind.body.partition(":")
    body: Callable[..., Summary] = getattr(importlib.import_module(module), name)
    given = node.request or (lambda node, desk: (node.config, job.materialise(desk.store, node.references())))

    def make(out: Path) -> Summary:
        config, folders = given(node, desk)
        return body(config, folders, out, watch.progress)

    part = result_part(workspace, job.folder, make)
    return part, Summary.parse(part.meta)


def _in_worker(node: Node, desk: Desk, watch: Watch, workspace: Workspace, job: Path) -> tuple[Part, Summary]:
    spec = job_spec(node, desk, workspace.lease)
    result = _launched(spec, desk, watch, job)
    for again in range(1, RETRIES + 1):
        if result.code != Exit.RESUME and result.error != StoreError.code:
            break
        watch.log.warning("%s; started again (%d of %d)", result.reason.partition("\n")[0], again, RETRIES)
        time.sleep(RETRY_SECONDS)
        result = _launched(spec, desk, watch, job)
    if result.code != Exit.DONE:
        raise _failure(node, result)
    done = next((part for part in workspace.parts() if part.name == result.part), None)
    if done is None:
        raise StageError(f"the worker of {node.name} ended well but left no part '{result.part}'", do="read its log", where=str(job))
    return done, Summary.parse(result.summary)


def _launched(spec: JobSpec, desk: Desk, watch: Watch, job: Path) -> Result:
    say = watch.log.info
    return launch(spec, job, desk.site, on_line=lambda line: say("%s", line), on_progress=watch.progress, check=watch.check)


def _failure(node: Node, result: Result) -> StageError:
    advice: dict[int, str] = {
        Exit.RESUME: "run the same command again: it goes on from the newest checkpoint",
        Exit.DECIDE: "read the reason, decide, then run again; `smolflow explain` tells what would re-run",
    }
    do = advice.get(result.code, f"read {result.log}; then run the same command again, it goes on from what is saved")
    return StageError(result.reason or f"worker ended with exit code {result.code}", where=node.name, do=do)


def job_spec(node: Node, desk: Desk, lease: int | None) -> JobSpec:
    """What a worker needs to know; free of local paths, so that it can be started by hand anywhere."""
    config = node.config if isinstance(node.config, dict) else node.config.model_dump(mode="json")
    return JobSpec(
        stage=node.name,
        craft=node.kind.craft,
        fingerprint=node.fingerprint,
        workspace_key=node.workspace_key,
        lease=lease,
        store=desk.store.url,
        config=config,
        inputs=node.references(),
        processes=node.processes,
        code_version=code_version(),
    )


def _commit(
    node: Node, inputs: Mapping[str, Artifact], workspace: Workspace, part: Part, summary: Summary, relies_on: list[str], seconds: float
) -> Artifact:
    ledger = summary.evidence.get("ledger", {}).get("seconds", {})
    cost = max(seconds, sum(ledger.values()))  # the ledger of a resumed job counts its earlier attempts too
    return workspace.commit(
        node.fingerprint,
        [part],
        stage_version=node.kind.version,
        config=node.recorded(),
        inputs=inputs,
        counts=summary.counts,
        metrics=summary.metrics,
        evidence=summary.evidence | ({"gates_relied_on": relies_on} if relies_on else {}),
        layouts=summary.layouts,
        interventions=summary.interventions,
        cost={"seconds": round(cost, 3), "processes": node.processes},
        versions=versions(),
        machine=machine(),
    )
