"""What the MLflow server knows, asked over its REST API."""

from __future__ import annotations

from typing import Any

import httpx

from tests.e2e.driving import Stack


def mlflow_run(stack: Stack, recipe: str, fingerprint: str) -> dict[str, Any] | None:
    """The MLflow run of the stage that made this artifact."""
    found = httpx.get(f"{stack.mlflow}/api/2.0/mlflow/experiments/get-by-name", params={"experiment_name": recipe}).json()
    body = {"experiment_ids": [found["experiment"]["experiment_id"]], "filter": f"tags.fingerprint = '{fingerprint}'"}
    runs = httpx.post(f"{stack.mlflow}/api/2.0/mlflow/runs/search", json=body).json().get("runs", [])
    return dict(runs[0]) if runs else None


def loss_steps(stack: Stack, run: dict[str, Any] | None) -> set[int]:
    """Steps of which MLflow has the loss."""
    if run is None:
        return set()
    query = {"run_id": run["info"]["run_id"], "metric_key": "loss", "max_results": 5000}
    return {point["step"] for point in httpx.get(f"{stack.mlflow}/api/2.0/mlflow/metrics/get-history", params=query).json()["metrics"]}
