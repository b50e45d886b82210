from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.store import Store
from tests.infra.store.material import BUCKET, FIRST_PORT, MotoServer, worker_number


@pytest.fixture(scope="session")
def server() -> Iterator[MotoServer]:
    """A real HTTP server that speaks S3."""
    server = MotoServer(FIRST_PORT + worker_number())
    server.start()
    yield server
    server.stop()


@pytest.fixture
def s3_service(server: MotoServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """The environment that leads to the server; gives its bucket."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return BUCKET


@pytest.fixture(params=["folder", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The place of a new store: the same tests run on a folder and on S3."""
    if request.param == "folder":
        return str(tmp_path / "store")
    return f"s3://{request.getfixturevalue('s3_service')}/{uuid.uuid4().hex}"


@pytest.fixture
def store(url: str) -> Store:
    return Store.open(url)
