"""What the store's tests work with: files, artifacts, a service that speaks S3, and other processes."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import boto3
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import BaseWSGIServer, make_server

from infra.store import Artifact, Store

ROOT = Path(__file__).resolve().parents[3]
BUCKET = "smolflow"
FIRST_PORT = 9100
FILES = {"model/weights.bin": b"w" * 5000, "notes.txt": "Größe".encode(), "empty": b""}


def worker_number() -> int:
    """Number of this pytest-xdist worker, so that each has a port of its own."""
    return int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 10


class MotoServer:
    """moto behind a real HTTP server on the loopback interface, in threads of this process.

    Args:
        around: wraps the WSGI application, to make it a lesser service.
    """

    def __init__(self, port: int, around: Callable[[Any], Any] = lambda app: app) -> None:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._app = around(DomainDispatcherApplication(create_backend_app))
        self._port = port
        self.environment = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        self._server: BaseWSGIServer | None = None

    def start(self) -> None:
        import threading

        self._server = make_server("127.0.0.1", self._port, self._app, threaded=True)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        client = boto3.client(
            "s3",
            endpoint_url=self.environment["AWS_ENDPOINT_URL"],
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )
        client.create_bucket(Bucket=BUCKET)

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()


def folder_of(root: Path, files: Mapping[str, bytes] = FILES) -> Path:
    """A local folder with `files`."""
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


def commit(
    store: Store,
    local: Path,
    *,
    stage: str = "curate",
    fingerprint: str = "f1",
    key: str | None = None,
    part: str = "result",
    inputs: Mapping[str, Artifact] | None = None,
) -> Artifact:
    """An artifact over one part that holds the files below `local`."""
    with store.begin(stage, key or fingerprint) as workspace:
        sealed = workspace.put(part, local, {"note": "hello"})
        return workspace.commit(fingerprint, [sealed], config={"seed": 7}, inputs=inputs, counts={"documents": 3}, metrics={"loss": 0.1})


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below `folder`."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def python(code: str, *arguments: str, **more: Any) -> subprocess.Popen[str]:
    """Another Python process that runs `code` on this checkout."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **more.pop("environment", {})}
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **more
    )
