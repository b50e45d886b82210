"""The two servers of the local stack: Prefect and MLflow, each on sqlite under <home>."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from contracts.errors import ResourceError
from infra.site import Server, Site
from infra.stack.environment import inherited, mlflow_server_environment, prefect_server_environment, write_profile
from infra.stack.ports import require_free
from infra.stack.process import Record, record_of, start, stop, tail

Say = Callable[[str], None]
START_SECONDS = 240.0
_LOCAL = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class _Plan:
    name: str
    server: Server
    health: str
    program: list[str]
    environment: dict[str, str]
    folder: Path


def start_servers(site: Site, say: Say, only: Sequence[str] = ("prefect", "mlflow")) -> list[Record]:
    """Start Prefect and MLflow side by side and wait until both answer; one that already runs is left as it is.

    Raises:
        ResourceError: a port is taken, or a server ended at its start (with the end of its log).
    """
    plans = [plan for plan in (_prefect(site), _mlflow(site)) if plan.name in only]
    running = {plan.name: _running(site, plan.name) for plan in plans}
    for plan in plans:
        if running[plan.name] is None:
            require_free(plan.server, plan.name)
    write_profile(site)
    waiting: dict[str, tuple[_Plan, Record]] = {}
    try:
        for plan in plans:
            known = running[plan.name]
            if known is not None and healthy(plan.server.url + plan.health):
                say(f"{plan.name} already runs at {known.url} (pid {known.pid})")
                continue
            say(f"starting {plan.name} at {plan.server.url}")
            environment = inherited() | plan.environment
            waiting[plan.name] = plan, known or start(site.home, plan.name, plan.server.url, plan.program, environment, plan.folder)
        _await_all(waiting, say)
    except BaseException:
        for plan, record in waiting.values():
            if running[plan.name] is None:
                stop(site.home, record)
        raise
    return [record for record in (record_of(site.home, plan.name) for plan in plans) if record is not None]


def healthy(url: str, timeout: float = 2.0) -> bool:
    """Whether `url` answers 200."""
    try:
        with _LOCAL.open(url, timeout=timeout) as answer:
            return bool(answer.status == 200)
    except (OSError, ValueError):
        return False


def is_up(site: Site) -> bool:
    """Whether this site's own Prefect server runs and answers."""
    return _running(site, "prefect") is not None and healthy(f"{site.prefect_api}/health", timeout=5.0)


def _running(site: Site, name: str) -> Record | None:
    record = record_of(site.home, name)
    return record if record is not None and record.alive else None


def _await_all(waiting: dict[str, tuple[_Plan, Record]], say: Say) -> None:
    began = time.monotonic()
    left = dict(waiting)
    while left:
        for name, (plan, record) in list(left.items()):
            if not record.alive:
                raise ResourceError(
                    f"{name} ended at its start:\n{tail(record.log)}", where=str(record.log), do="read its log; `smolflow doctor`"
                )
            if healthy(plan.server.url + plan.health):
                say(f"{name} answers after {time.monotonic() - began:.0f} s: {record.url}")
                del left[name]
        if left and time.monotonic() - began > START_SECONDS:
            logs = "\n".join(f"--- {name}\n{tail(record.log)}" for name, (_, record) in left.items())
            raise ResourceError(
                f"no answer after {START_SECONDS:.0f} s from {', '.join(left)}:\n{logs}", do="see whether the machine is overloaded"
            )
        if left:
            time.sleep(0.25)


def _prefect(site: Site) -> _Plan:
    program = [site.interpreter, "-m", "infra.stack.prefect_server", "server", "start"]
    program += ["--host", site.prefect.host, "--port", str(site.prefect.port)]
    return _Plan("prefect", site.prefect, "/api/health", program, prefect_server_environment(site), site.home / "prefect")


def _mlflow(site: Site) -> _Plan:
    folder = site.home / "mlflow"
    program = [site.interpreter, "-m", "mlflow", "server", "--host", site.mlflow.host, "--port", str(site.mlflow.port), "--workers", "1"]
    program += ["--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}", "--artifacts-destination", str(folder / "artifacts")]
    return _Plan("mlflow", site.mlflow, "/health", program, mlflow_server_environment(site), folder)
