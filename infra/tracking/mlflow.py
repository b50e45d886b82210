"""The few MLflow calls that are needed, over its REST API.

Not MLflow's own client: importing it costs seconds in every flow process, and with the server away it blocks for minutes, then raises.
Credentials come from the environment as MLflow defines them (MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and _PASSWORD).
"""

from __future__ import annotations

import base64
import json
import math
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any

Point = tuple[str, float, int, int]
"""Name, value, time in Unix milliseconds, step."""

METRICS_PER_BATCH = 900
PARAMS_PER_BATCH = 100
VALUE_CHARACTERS = 6000
DESCRIPTION_CHARACTERS = 5000


class TrackingAway(OSError):
    """The MLflow server does not answer, or refuses; nothing that a stage should stop for."""


class Mlflow:
    """An MLflow server.

    Args:
        url: root of the server.
        timeout: seconds a call may take.
    """

    def __init__(self, url: str, timeout: float = 5.0) -> None:
        self.url, self._timeout = url.rstrip("/"), timeout

    def experiment(self, name: str) -> str:
        """Id of the experiment of that name, created if there is none."""
        found = self._get("experiments/get-by-name", {"experiment_name": name}, missing_ok=True)
        if found is not None:
            return str(found["experiment"]["experiment_id"])
        return str(self._post("experiments/create", {"name": name})["experiment_id"])

    def find_run(self, experiment: str, tag: str, value: str) -> str | None:
        """Id of the newest run of the experiment with that tag."""
        wanted = {"experiment_ids": [experiment], "filter": f"tags.`{tag}` = '{value}'", "max_results": 1}
        runs = self._post("runs/search", wanted).get("runs", [])
        return str(runs[0]["info"]["run_id"]) if runs else None

    def newest_steps(self, run: str) -> dict[str, int]:
        """Newest step of each metric of the run that has several."""
        found = self._get("runs/get", {"run_id": run}) or {}
        steps = {metric["key"]: int(metric.get("step", 0)) for metric in found["run"]["data"].get("metrics", [])}
        return {name: step for name, step in steps.items() if step > 0}

    def create_run(self, experiment: str, name: str, tags: Mapping[str, str]) -> str:
        """Id of a new run."""
        given = [{"key": key, "value": value} for key, value in tags.items()]
        body = {"experiment_id": experiment, "run_name": name, "start_time": _now(), "tags": given}
        return str(self._post("runs/create", body)["run"]["info"]["run_id"])

    def update_run(self, run: str, status: str) -> None:
        """Set the status: RUNNING, FINISHED, FAILED or KILLED."""
        ended = {} if status == "RUNNING" else {"end_time": _now()}
        self._post("runs/update", {"run_id": run, "status": status, **ended})

    def log(
        self, run: str, points: Sequence[Point] = (), params: Mapping[str, str] | None = None, tags: Mapping[str, str] | None = None
    ) -> None:
        """Log points, params (which never change once logged) and tags. Logging a point again changes nothing."""
        metrics = [{"key": allowed(key), "value": _number(value), "timestamp": ms, "step": step} for key, value, ms, step in points]
        for at in range(0, len(metrics), METRICS_PER_BATCH):
            self._post("runs/log-batch", {"run_id": run, "metrics": metrics[at : at + METRICS_PER_BATCH]})
        for kind, given in (("params", params), ("tags", tags)):
            pairs = [{"key": allowed(key), "value": value[:VALUE_CHARACTERS]} for key, value in (given or {}).items()]
            for at in range(0, len(pairs), PARAMS_PER_BATCH):
                self._post("runs/log-batch", {"run_id": run, kind: pairs[at : at + PARAMS_PER_BATCH]})

    def create_model(self, name: str) -> None:
        """A registered model of that name, where there is none yet."""
        if self._get("registered-models/get", {"name": name}, missing_ok=True) is None:
            self._post("registered-models/create", {"name": name})

    def find_version(self, name: str, tag: str, value: str) -> str | None:
        """Number of the newest version of a registered model with that tag."""
        wanted = {"filter": f"name='{name}' AND tags.`{tag}` = '{value}'", "max_results": "1", "order_by": "version_number DESC"}
        found = (self._get("model-versions/search", wanted) or {}).get("model_versions", [])
        return str(found[0]["version"]) if found else None

    def create_version(self, name: str, source: str, tags: Mapping[str, str], description: str) -> str:
        """Number of a new version of a registered model."""
        given = [{"key": allowed(key), "value": value[:VALUE_CHARACTERS]} for key, value in tags.items()]
        body = {"name": name, "source": source, "tags": given, "description": description[:DESCRIPTION_CHARACTERS]}
        return str(self._post("model-versions/create", body)["model_version"]["version"])

    def update_version(self, name: str, version: str, tags: Mapping[str, str], description: str) -> None:
        """Renew tags and description of a version."""
        where = {"name": name, "version": version}
        self._post("model-versions/update", {**where, "description": description[:DESCRIPTION_CHARACTERS]}, method="PATCH")
        for key, value in tags.items():
            self._post("model-versions/set-tag", {**where, "key": allowed(key), "value": value[:VALUE_CHARACTERS]})

    def version_page(self, name: str, version: str) -> str:
        """Address of a version's page."""
        return f"{self.url}/#/models/{urllib.parse.quote(name, safe='')}/versions/{version}"

    def page(self, experiment: str, run: str) -> str:
        """Address of the run's page."""
        return f"{self.url}/#/experiments/{experiment}/runs/{run}"

    def _get(self, call: str, query: Mapping[str, str], missing_ok: bool = False) -> dict[str, Any] | None:
        return self._send(urllib.request.Request(f"{self.url}/api/2.0/mlflow/{call}?{urllib.parse.urlencode(query)}"), missing_ok)

    def _post(self, call: str, body: Mapping[str, Any], method: str = "POST") -> dict[str, Any]:
        request = urllib.request.Request(f"{self.url}/api/2.0/mlflow/{call}", data=json.dumps(body).encode(), method=method)
        request.add_header("Content-Type", "application/json")
        return self._send(request) or {}

    def _send(self, request: urllib.request.Request, missing_ok: bool = False) -> dict[str, Any] | None:
        for name, value in _credentials().items():
            request.add_header(name, value)
        try:
            with urllib.request.urlopen(request, timeout=self._timeout) as answer:
                return dict(json.loads(answer.read() or b"{}"))
        except urllib.error.HTTPError as error:
            if missing_ok and error.code == 404:
                return None
            raise TrackingAway(f"{request.full_url}: {error.code} {error.read()[:300].decode('utf-8', 'replace')}") from None
        except (OSError, ValueError) as error:
            raise TrackingAway(f"{request.full_url}: {error}") from None


def allowed(name: str) -> str:
    """`name` with what MLflow does not take in a name replaced by underscores."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "_-. /:") else "_" for c in name)[:250]


def _number(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _credentials() -> dict[str, str]:
    token = os.environ.get("MLFLOW_TRACKING_TOKEN")
    if token:
        return {"Authorization": f"Bearer {token}"}
    user = os.environ.get("MLFLOW_TRACKING_USERNAME")
    if not user:
        return {}
    pair = f"{user}:{os.environ.get('MLFLOW_TRACKING_PASSWORD', '')}"
    return {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}


def _now() -> int:
    return int(time.time() * 1000)
