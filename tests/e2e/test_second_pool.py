"""The whole line with its store in S3 and its training on a second pool: two workers that share nothing but the store."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
import yaml

from tests.e2e.conftest import Stack, free_port, make_stack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture
def s3(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Environment of a real S3 API on this machine with one empty bucket."""
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    env = KEYS | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}
    try:
        _answers(port)
        boto3.client("s3", endpoint_url=env["AWS_ENDPOINT_URL"], **_credentials()).create_bucket(Bucket="smolflow")
        yield env
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(10)


def _credentials() -> dict[str, str]:
    return {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}


def _answers(port: int, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    pytest.fail(f"nothing listens on port {port}")


def test_training_on_a_pool_that_shares_nothing_but_the_store(tmp_path: Path, s3: dict[str, str]) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    pools = {"cpu": {}, "training": {"kind": "cpu", "worker": False}}
    made = make_stack(here, store="s3://smolflow/store", pools=pools, stage_pools={"train": "training"})
    stack = Stack(made.root, made.env | s3, made.prefect, made.mlflow)
    stack.command("up")
    worker = _second_worker(stack, there)
    wiper = _wipe_scratch_between_stages(here, there)
    try:
        stack.command("run", "--recipe", "smoke", timeout=600)
    finally:
        wiper.terminate()
        worker.send_signal(signal.SIGTERM)
        worker.wait(60)
        stack.command("down", check=False)
    rows = {row["stage"]: row for row in stack_rows(stack)}
    assert all(row["uri"].startswith("s3://smolflow/store/") for row in rows.values())
    assert any((there / "home" / "scratch").iterdir()), "the second worker did nothing"
    body = "".join(_manifests(s3))
    assert str(here) not in body and str(there) not in body, "a local path leaked into the store"


def stack_rows(stack: Stack) -> list[dict[str, str]]:
    """`smolflow ls` of the S3 store."""
    rows: list[dict[str, str]] = stack.json("ls")
    return rows


def _second_worker(stack: Stack, there: Path) -> subprocess.Popen[bytes]:
    """A worker of pool `training` with a home, scratch and working folder of its own."""
    site = yaml.safe_load((stack.root / "site.yaml").read_text()) | {"home": str(there / "home")}
    (there / "site.yaml").write_text(yaml.safe_dump(site))
    env = stack.env | {
        "SMOLFLOW_SITE": str(there / "site.yaml"),
        "PREFECT_API_URL": f"{stack.prefect}/api",
        "PREFECT_HOME": str(there / "prefect"),
    }
    argv = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "training", "--name", "second"]
    with (there / "worker.log").open("wb") as log:
        return subprocess.Popen(argv, cwd=there, env=env, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)


def _wipe_scratch_between_stages(*roots: Path) -> subprocess.Popen[bytes]:
    """Removes materialised artifacts of both workers again and again, as a node that is handed to somebody else would."""
    code = (
        "import pathlib, shutil, sys, time\n"
        "while True:\n"
        "    for root in sys.argv[1:]:\n"
        "        for one in pathlib.Path(root, 'home', 'scratch', 'artifacts').glob('*'):\n"
        "            if time.time() - one.stat().st_mtime > 30: shutil.rmtree(one, ignore_errors=True)\n"
        "    time.sleep(1)\n"
    )
    return subprocess.Popen([sys.executable, "-c", code, *map(str, roots)])


def _manifests(s3: dict[str, str]) -> list[str]:
    client = boto3.client("s3", endpoint_url=s3["AWS_ENDPOINT_URL"], **_credentials())
    keys = [row["Key"] for page in client.get_paginator("list_objects_v2").paginate(Bucket="smolflow") for row in page.get("Contents", [])]
    return [client.get_object(Bucket="smolflow", Key=key)["Body"].read().decode() for key in keys if key.endswith(".json")]
