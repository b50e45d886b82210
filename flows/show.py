"""What a run shows in the Prefect UI and in MLflow: progress, tables, links, the loss curve, the state of the DAG."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Self, cast
from uuid import UUID

from prefect import runtime
from prefect.artifacts import (
    create_image_artifact,
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

from contracts.config import leaves
from flows.desk import Desk
from flows.plan import Node
from flows.registry import register
from flows.results import REPORT, result
from flows.stage import Outcome
from infra.store import Artifact
from infra.tracking import Parent, Tracker

MARKS = {"running": "▸ running", "ran": "✓ done", "reused": "↺ reused", "failed": "✗ failed"}
UPDATE_SECONDS = 1.0
LOG_SECONDS = 10.0


class StageDisplay:
    """Progress of one stage while it works, and its result when it is done."""

    def __init__(self, node: Node, desk: Desk, log: logging.Logger | logging.LoggerAdapter[Any]) -> None:
        self._node, self._desk, self._log = node, desk, log
        self._bar: UUID | None = None
        self._shown = self._logged = 0.0
        self._tracker = Tracker.for_stage(
            desk.site,
            desk.plan.recipe.name,
            node.name,
            node.workspace_key,
            desk.job_dir(node),
            parent=playbook_above(),
            params=_flat(node.hashed),
        )

    def __enter__(self) -> Self:
        bar = create_progress_artifact(progress=0.0, key=artifact_key(f"progress-{self._node.name}"), description=self._node.kind.does)
        self._bar = cast(UUID, bar)  # a coroutine only where an event loop calls it
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._bar = None

    @property
    def during(self) -> Callable[[], AbstractContextManager[Callable[[Artifact], None]]]:
        """Ship the stage's curves to MLflow while it works, and its figures when it is told the artifact."""
        return self._tracker.shipping(self._desk.job_dir(self._node), self._link)

    def _link(self, page: str) -> None:
        create_link_artifact(page, link_text=f"{self._node.name} in MLflow", key=artifact_key(f"mlflow-{self._node.name}"))

    def progress(self, done: float, total: float, note: str) -> None:
        """Show that `done` of `total` is behind; at most once a second in the UI, every ten in the log."""
        now = time.monotonic()
        percent = min(100.0, 100.0 * done / total) if total else 0.0
        if self._bar is not None and (now - self._shown >= UPDATE_SECONDS or percent >= 100.0):
            self._shown = now
            update_progress_artifact(self._bar, progress=round(percent, 1), description=note)
        if now - self._logged >= LOG_SECONDS:
            self._logged = now
            self._log.info("%s %.0f %% %s", self._node.name, percent, note)

    def done(self, outcome: Outcome) -> None:
        """Show counts, metrics and links of the finished stage."""
        manifest = outcome.artifact.manifest
        self.progress(1, 1, outcome.state)
        rows = [{"figure": name, "value": f"{value:,}"} for name, value in manifest.counts.items()]
        rows += [{"figure": name, "value": f"{value:.6g}"} for name, value in manifest.metrics.items()]
        rows = rows or [{"figure": "files", "value": f"{len(manifest.files)}"}]
        create_table_artifact(rows, key=artifact_key(f"result-{self._node.name}"), description=outcome.artifact.uri)
        if self._node.kind.craft == "training":
            self._show_loss(outcome)
        if page := register(self._node, self._desk, self._log):
            create_link_artifact(page, link_text="in MLflow's model registry", key=artifact_key(f"registry-{self._node.name}"))

    def _show_loss(self, outcome: Outcome) -> None:
        from tasks.reporting import loss_image

        folder = self._desk.store.materialise(outcome.artifact, self._desk.site.scratch / "artifacts", ["metrics.jsonl"])
        create_image_artifact(
            loss_image(folder / "metrics.jsonl"), key=artifact_key(f"loss-{self._node.name}"), description="training loss"
        )


def playbook_above() -> Parent | None:
    """The MLflow run of the playbook run that this flow run is part of, if any."""
    root = runtime.flow_run.root_flow_run_id
    return Parent.playbook(str(root)) if root and root != runtime.flow_run.id else None


def playbook_in_mlflow(desk: Desk) -> AbstractContextManager[None]:
    """The MLflow run in which the stages of this playbook run are nested."""
    return Tracker.for_playbook(desk.site, desk.plan.recipe.name, str(runtime.flow_run.id)).running()


def show_plan(desk: Desk, states: dict[str, str]) -> None:
    """The DAG as a table, with the state of every stage."""
    marks = {node.name: MARKS.get(states.get(node.name, ""), "· waiting") for node in desk.plan}
    rows = [{"stage": node.name, "state": marks[node.name], "does": node.kind.does, "fingerprint": _identity(node)} for node in desk.plan]
    create_table_artifact(rows, key=artifact_key(f"playbook-{desk.plan.recipe.name}"), description=f"Stages of {desk.plan.recipe.name}")


def _identity(node: Node) -> str:
    return f"after {node.awaits.name}" if node.awaits else node.fingerprint[:12]


def show_report(desk: Desk) -> str:
    """Link the report page; returns its place."""
    page = result(desk, *REPORT)
    text = f"# {desk.plan.recipe.name}\n\nReport page: `{page}`\n\n[All stages in MLflow]({desk.site.mlflow.url})"
    create_markdown_artifact(text, key=artifact_key(f"report-{desk.plan.recipe.name}"), description="Where the report lies")
    return str(page)


def _flat(config: Any) -> dict[str, object]:
    return dict(leaves(config)) if isinstance(config, dict) else {}


def artifact_key(name: str) -> str:
    """Artifact keys allow lower-case letters, digits and dashes only."""
    return "".join(c if c.isascii() and c.isalnum() else "-" for c in name.lower())
