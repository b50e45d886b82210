"""Environment of the local servers, of the worker and of whoever talks to them.

Everything Prefect keeps lies in <home>/prefect (PREFECT_HOME), so a person's own profile and server are neither read nor changed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from infra.site import CHECKOUT, Site

HEARTBEAT_SECONDS = 30
PROFILE = "smolflow"


def client_environment(site: Site) -> dict[str, str]:
    """What a process needs to talk to this site's servers and to find the site again."""
    return {
        "SMOLFLOW_HOME": str(site.home),
        "PREFECT_HOME": str(site.home / "prefect"),
        "PREFECT_PROFILE": PROFILE,
        "PREFECT_API_URL": site.prefect_api,
        # A server restart of a minute must not fail a finished run at its last state change (the default gives up after 5 tries).
        "PREFECT_CLIENT_MAX_RETRIES": "9",
        # The default of 180 s would leave a dead run "Running" for ten minutes before the automation may call it crashed.
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_SECONDS),
        "MLFLOW_TRACKING_URI": site.mlflow.url,
        "NO_PROXY": _without_proxy(site),
        "no_proxy": _without_proxy(site),
    }


def prefect_server_environment(site: Site) -> dict[str, str]:
    """Settings that keep a long run safe, and nothing sent elsewhere."""
    folder = site.home / "prefect"
    return client_environment(site) | {
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{folder / 'prefect.db'}",
        "PREFECT_SERVER_API_HOST": site.prefect.host,
        "PREFECT_SERVER_API_PORT": str(site.prefect.port),
        "PREFECT_SERVER_UI_API_URL": site.prefect_api,
        "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(folder / "ui"),
        # In memory, every lease is lost with a server restart, and what holds one is crashed.
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "DO_NOT_TRACK": "1",
        "PYTHONPATH": _with_checkout(),
    }


def mlflow_server_environment(site: Site) -> dict[str, str]:
    """Job execution starts seven more processes (1.5 GB) for features that are not used here."""
    return {
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "NO_PROXY": _without_proxy(site),
        "no_proxy": _without_proxy(site),
    }


def worker_environment(site: Site, folder: Path | None = None) -> dict[str, str]:
    """What flow processes inherit from the worker; the deployments themselves hold no path of this machine.

    Args:
        folder: working folder of flow processes; default: the one this is called in.
    """
    return client_environment(site) | {
        "PREFECT_WORKER_QUERY_SECONDS": "3",
        "PYTHONPATH": _with_checkout(),
        "SMOLFLOW_SITE": str(write_site(site)),
        "SMOLFLOW_INTERPRETER": site.interpreter,
        "SMOLFLOW_FOLDER": str(folder or Path.cwd()),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
    }


def inherited(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """This process's environment without settings of Prefect and MLflow that a person made for other servers."""
    return {key: value for key, value in environment.items() if not key.startswith(("PREFECT_", "MLFLOW_"))}


def write_site(site: Site) -> Path:
    """The site as it is now, every path absolute: flow processes read this one, wherever they run and whatever is edited meanwhile."""
    path = site.home / "stack" / "site.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".tmp").write_text(site.to_yaml(), encoding="utf-8")
    path.with_suffix(".tmp").replace(path)
    return path


def write_profile(site: Site) -> None:
    """A profile inside PREFECT_HOME, so that `PREFECT_HOME=<home>/prefect prefect ...` reaches this server."""
    folder = site.home / "prefect"
    folder.mkdir(parents=True, exist_ok=True)
    text = f'active = "{PROFILE}"\n\n[profiles.{PROFILE}]\nPREFECT_API_URL = "{site.prefect_api}"\n'
    path = folder / "profiles.toml"
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def _with_checkout() -> str:
    return os.pathsep.join(filter(None, [str(CHECKOUT), os.environ.get("PYTHONPATH", "")]))


def _without_proxy(site: Site) -> str:
    given = os.environ.get("NO_PROXY") or os.environ.get("no_proxy") or ""
    hosts = [part for part in given.split(",") if part]
    return ",".join(dict.fromkeys([*hosts, "127.0.0.1", "localhost", site.prefect.host, site.mlflow.host]))
