"""Real servers for tests, each module's own: import the fixture that is wanted.

    from tests.servers import mlflow_server  # noqa: F401

A start takes 10 to 50 s, so they live as long as the test module.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from infra.site import Server, Site
from infra.stack.ports import free_port
from infra.stack.process import record_of, records, stop
from infra.stack.servers import start_servers


def local_site(home: Path, **changes: object) -> Site:
    """A site of its own under `home`, on free ports."""
    servers = {"prefect": Server(port=free_port()), "mlflow": Server(port=free_port())}
    return Site.parse({"name": "test", "home": home, **servers, **changes})


def start_server(site: Site, name: str) -> None:
    """Start one of the two servers and wait until it answers."""
    start_servers(site, print, only=[name])


def stop_server(site: Site, name: str) -> None:
    """Stop one of the two servers."""
    record = record_of(site.home, name)
    assert record is not None
    stop(site.home, record)


def stop_all(site: Site) -> None:
    """End whatever was started under the site's home."""
    for record in reversed(records(site.home)):
        stop(site.home, record)


@contextmanager
def site_with(root: Path, server: str) -> Iterator[Site]:
    """A site under `root` one of whose servers runs, until the block ends."""
    site = local_site(root)
    try:
        start_server(site, server)
        yield site
    finally:
        stop_all(site)


@pytest.fixture(scope="module")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site whose Prefect server runs."""
    with site_with(tmp_path_factory.mktemp("prefect"), "prefect") as site:
        yield site


@pytest.fixture(scope="module")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site whose MLflow server runs."""
    with site_with(tmp_path_factory.mktemp("mlflow"), "mlflow") as site:
        yield site
