"""What keeps the stack from starting; the stack that does start is in tests/e2e/test_stack.py."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from contracts.errors import ResourceError
from infra.stack import down, is_up, only_one, start_servers, status
from tests.servers import local_site


@pytest.mark.parametrize("name", ["prefect", "mlflow"])
def test_a_taken_port_is_told_with_its_holder_and_the_setting(tmp_path: Path, name: str) -> None:
    site = local_site(tmp_path)
    server = site.prefect if name == "prefect" else site.mlflow
    with socket.create_server((server.host, server.port)), pytest.raises(ResourceError) as caught:
        start_servers(site, print)
    assert f"port {server.port} is already taken by process {os.getpid()}" in str(caught.value)
    assert f"{name}.port" in caught.value.do
    assert status(site) == [], "nothing was started"


def test_a_server_that_dies_at_its_start_shows_its_log_and_the_other_is_stopped(tmp_path: Path) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho ImportError: no module named $2 >&2\nexit 1\n")
    broken.chmod(0o755)
    with pytest.raises(ResourceError, match="ended at its start:\nImportError: no module named"):
        start_servers(local_site(tmp_path / "home", interpreter=str(broken)), print)
    assert status(local_site(tmp_path / "home")) == []


def test_nothing_is_up_at_first_and_down_is_content(tmp_path: Path) -> None:
    site = local_site(tmp_path)
    assert not is_up(site)
    down(site, print)
    assert status(site) == []


def test_another_server_on_the_port_is_not_taken_for_ours(tmp_path: Path) -> None:
    site = local_site(tmp_path)
    with socket.create_server((site.prefect.host, site.prefect.port)):
        assert not is_up(site)


def test_two_commands_do_not_work_on_one_stack(tmp_path: Path) -> None:
    site = local_site(tmp_path)
    with only_one(site), pytest.raises(ResourceError, match="another command"), only_one(site):
        pass
