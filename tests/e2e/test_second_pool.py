"""The whole line with its store in S3 and its training on a second pool: two workers that share nothing but the store."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from infra.site import CHECKOUT, Site
from infra.stack import inherited, worker_environment, worker_program
from infra.stack.ports import free_port
from infra.stack.servers import healthy
from tests.e2e.driving import Stack, make_stack, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
BUCKET = "smolflow"
ELSEWHERE = ["train-stable", "train-decay", "evaluate"]
WIPES_FIRST = """#!/bin/sh
# Interpreter of the second worker's flows: a node that was just handed over, without anything of the stage before, and so is the first one.
chmod -R u+w {here}/home/scratch {there}/home/scratch 2>/dev/null
rm -rf {here}/home/scratch {there}/home/scratch
echo wiped >> {there}/wiped
exec {python} "$@"
"""


@pytest.fixture
def s3() -> Iterator[dict[str, str]]:
    """Environment of a real S3 API on this machine with one empty bucket."""
    port = free_port()
    argv = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
    env = keys | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}
    try:
        wait_until(lambda: healthy(f"{env['AWS_ENDPOINT_URL']}/moto-api/"), 60, "the S3 server does not answer")
        _client(env).create_bucket(Bucket=BUCKET)
        yield env
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(10)


def _client(env: dict[str, str]) -> Any:
    return boto3.client(
        "s3", endpoint_url=env["AWS_ENDPOINT_URL"], region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test"
    )  # fmt: skip


def test_training_on_a_pool_that_shares_nothing_but_the_store(tmp_path: Path, s3: dict[str, str]) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    pools = {"cpu": {}, "training": {"kind": "cpu", "worker": False}}
    stage_pools = {"train": "training", "evaluate": "training"}
    stack = make_stack(here, store=f"s3://{BUCKET}/store", pools=pools, stage_pools=stage_pools).with_env(s3)
    stack.command("up")  # registers the pools before a worker asks for one
    worker = second_worker(stack, here, there, s3)
    try:
        stack.command("run", "--recipe", "smoke", timeout=400)
        runs = stack.flow_runs()
    finally:
        worker.send_signal(signal.SIGTERM)
        worker.wait(60)
        stack.command("down", check=False)
    on_second = [run["name"] for run in runs if run["work_pool_name"] == "training"]
    assert sorted(on_second) == sorted(f"smoke · {stage}" for stage in ELSEWHERE)
    assert (there / "wiped").read_text().count("wiped") == len(ELSEWHERE)
    assert list((there / "home" / "scratch").rglob("*.idx")), "the second worker did nothing"
    assert not list((here / "home" / "scratch" / "jobs").glob("train-*")), "training left something where it does not run"
    assert list((there / "work").iterdir()) == [], "something was written to the working folder"
    rows = {row["stage"]: row["uri"] for row in stack.json("ls")}
    assert set(rows) >= {*ELSEWHERE, "report"}
    assert all(uri.startswith(f"s3://{BUCKET}/store/") for uri in rows.values())
    assert not (here / "home" / "store").exists()
    assert leaks(s3, [str(here), str(there), str(CHECKOUT), sys.prefix]) == []


def second_worker(stack: Stack, here: Path, there: Path, s3: dict[str, str]) -> subprocess.Popen[bytes]:
    """A worker of pool `training` with a home, scratch and working folder of its own."""
    site = Site.from_yaml((stack.root / "site.yaml").read_text(), where="test").model_copy(
        update={"home": there / "home", "scratch": there / "home" / "scratch"}
    )
    folder = there / "work"
    folder.mkdir(parents=True)
    python = there / "python"
    python.write_text(WIPES_FIRST.format(here=here, there=there, python=sys.executable))
    python.chmod(0o755)
    env = inherited(os.environ) | worker_environment(site, folder) | s3 | {"SMOLFLOW_INTERPRETER": str(python)}
    with (there / "worker.log").open("wb") as log:
        return subprocess.Popen(worker_program(site, "training"), cwd=folder, env=env, stdout=log, stderr=subprocess.STDOUT)


def leaks(s3: dict[str, str], local: list[str]) -> list[tuple[str, str]]:
    """(object, path) for every object in the bucket that holds a local path."""
    client = _client(s3)
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
    keys = [row["Key"] for page in pages for row in page.get("Contents", [])]
    assert len(keys) > 50
    bodies = {key: client.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in keys}
    return [(key, path) for key, body in bodies.items() for path in local if path.encode() in body]
