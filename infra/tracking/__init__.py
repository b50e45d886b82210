"""Tracking: metrics reach MLflow from outside the training, through a spool in the job's folder; an outage costs nothing but patience."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Self

from infra.site import Site
from infra.store import Artifact
from infra.tracking.registry import register_model
from infra.tracking.shipper import BESIDE_SPOOL, Ledger, Parent, Shipper, load

__all__ = ["BESIDE_SPOOL", "Parent", "Tracker", "register_model", "ship_leftovers"]

SHIP_SECONDS = 2.0
PATIENCE_SECONDS = 4.0
"""The longest anything here makes its caller wait."""
LONGEST_PAUSE = 30.0


class Tracker:
    """Ships one run to MLflow while it works. Nothing here raises, and nothing waits longer than `PATIENCE_SECONDS`.

    What has not arrived at the end stays in the folder; the next tracker of the same run, or `ship_leftovers`, delivers it.

    Args:
        folder: the job's folder; its metrics.jsonl is the worker's spool, and BESIDE_SPOOL that of others.
        ledger: which run it is.
        own_folder: nobody else uses the folder; it goes when everything has arrived.
    """

    def __init__(self, folder: Path, ledger: Ledger, own_folder: bool = False) -> None:
        self._folder, self._own_folder = folder, own_folder
        self._shipper = Shipper(folder, ledger)
        self._wake, self._idle, self._over = threading.Event(), threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True, name="mlflow-shipper")
        self.trouble = ""
        self.complete = False
        """Whether everything had arrived when `running` ended."""

    @classmethod
    def for_stage(
        cls, site: Site, recipe: str, stage: str, key: str, job_dir: Path, *,
        title: str = "", parent: Parent | None = None, params: Mapping[str, object] | None = None,
    ) -> Self:  # fmt: skip
        """Tracker of one stage.

        Args:
            recipe: names the experiment.
            stage: the stage; with its key it finds the run again.
            key: the stage's workspace key: whoever works in that workspace again goes on in the same MLflow run.
            job_dir: the job's folder.
            title: name of the run; empty: the stage's.
            parent: run it is nested in; None: a run of its own.
            params: the stage's config, flat.
        """
        ledger = Ledger(
            url=site.mlflow.url,
            experiment=recipe,
            name=title or stage,
            key=f"{stage}-{key}",
            parent=parent,
            params={name: str(value) for name, value in (params or {}).items()},
        )
        return cls(job_dir, ledger)

    @classmethod
    def for_playbook(cls, site: Site, recipe: str, run: str) -> Self:
        """Tracker of the playbook run with id `run`, in which its stages are nested."""
        own = Parent.playbook(run)
        ledger = Ledger(url=site.mlflow.url, experiment=recipe, name=own.name, key=own.key)
        return cls(site.scratch / "jobs" / f"playbook-{run}", ledger, own_folder=True)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Ship while the block works, and end the MLflow run with it: FINISHED, or FAILED where it raises; see `complete`."""
        self.start()
        status = "FAILED"
        try:
            yield
            status = "FINISHED"
        finally:
            self.complete = self.stop(status)

    def shipping(
        self, job_dir: Path, on_page: Callable[[str], object] = lambda page: None
    ) -> Callable[[], AbstractContextManager[Callable[[Artifact], None]]]:
        """For a stage at work: `running`, then its figures when the yielded function is told the artifact, with `on_page` told where.

        The job's folder is removed at the end, unless it holds what MLflow has not seen yet.
        """

        def record(artifact: Artifact) -> None:
            page = self.record(artifact.manifest.metrics, {"fingerprint": artifact.fingerprint, "uri": artifact.uri})
            if page:
                on_page(page)

        @contextmanager
        def during() -> Iterator[Callable[[Artifact], None]]:
            with self.running():
                yield record
            if self.complete:
                shutil.rmtree(job_dir, ignore_errors=True)

        return during

    def start(self) -> None:
        """Begin to ship, in a thread; what an earlier attempt left goes first."""
        self._thread.start()

    def record(self, metrics: Mapping[str, float], tags: Mapping[str, str]) -> str:
        """Log final figures and texts; returns the address of the run's page, empty when MLflow is away."""
        self._idle.clear()
        self._shipper.add(metrics, tags)
        self._wake.set()
        self._idle.wait(PATIENCE_SECONDS)
        return self.page

    def stop(self, status: str = "FINISHED") -> bool:
        """Ship the rest and end the MLflow run with `status` (FINISHED, FAILED or KILLED); True when everything has arrived."""
        self._shipper.end(status)
        self._over.set()
        self._wake.set()
        self._thread.join(PATIENCE_SECONDS)
        complete = not self._thread.is_alive() and self._shipper.shipped
        if complete and self._own_folder:
            shutil.rmtree(self._folder, ignore_errors=True)
        return complete

    @property
    def page(self) -> str:
        """Address of the run's page; empty when MLflow has not answered yet."""
        return self._shipper.page

    def _work(self) -> None:
        pause = SHIP_SECONDS
        while True:
            last = self._over.is_set()
            self._wake.clear()
            try:
                self._shipper.ship()
                self.trouble, pause = "", SHIP_SECONDS
            except OSError as error:
                self.trouble, pause = str(error), min(2 * pause, LONGEST_PAUSE)
            self._idle.set()
            if last:
                return
            self._wake.wait(pause)


def ship_leftovers(jobs: Path, say: Callable[[str], None], seconds: float = 10.0) -> int:
    """Deliver what runs left in the job folders under `jobs` while MLflow was away, for at most about `seconds`.

    Returns:
        How many runs are complete now. The folder of one that had finished is removed: only its figures were missing.
    """
    deadline = time.monotonic() + seconds
    delivered = 0
    for folder in sorted(jobs.iterdir()) if jobs.is_dir() else []:
        ledger = load(folder)
        if ledger is None or ledger.status == "RUNNING" or time.monotonic() > deadline:
            continue
        shipper = Shipper(folder, ledger)
        if shipper.shipped:
            continue
        try:
            shipper.ship(timeout=3.0)
        except OSError as error:
            say(f"figures of {ledger.name} ({ledger.experiment}) wait in {folder}: {error}")
            continue
        delivered += 1
        say(f"figures of {ledger.name} ({ledger.experiment}) delivered to MLflow")
        if ledger.status == "FINISHED":
            shutil.rmtree(folder, ignore_errors=True)
    return delivered
