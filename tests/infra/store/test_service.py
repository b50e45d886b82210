"""What is said when the place of a store cannot serve as one."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from contracts.errors import ConfigError, IntegrityError
from infra.store import Store, StoreError
from tests.infra.store.material import BUCKET, FIRST_PORT, MotoServer, commit, folder_of, python, worker_number

OPEN = """
import sys
from contracts.errors import SmolflowError
from infra.store import Store
try:
    print("opened", Store.open(sys.argv[1]).url)
except SmolflowError as error:
    print(error)
"""
PORT = FIRST_PORT + 20 + worker_number()


def opened(url: str, **environment: str) -> str:
    """What a new process says that opens `url`; it must come to an end by itself."""
    return python(OPEN, url, environment=environment).communicate(timeout=60)[0]


@contextmanager
def service(around: Callable[[Any], Any]) -> Iterator[dict[str, str]]:
    server = MotoServer(PORT, around)
    server.start()
    try:
        yield server.environment
    finally:
        server.stop()


def test_a_service_that_is_away_is_told_at_once(s3_service: str) -> None:
    said = opened("s3://smolflow/runs", AWS_ENDPOINT_URL=f"http://127.0.0.1:{PORT}")
    assert said.startswith(
        f"store: the store at http://127.0.0.1:{PORT} cannot be reached: [Errno 111] Connection refused [s3://smolflow/runs]"
    )
    assert "correct AWS_ENDPOINT_URL" in said


def test_a_service_that_does_not_answer_is_given_up_within_seconds(s3_service: str) -> None:
    with socket.create_server(("127.0.0.1", PORT)):
        said = opened("s3://smolflow/runs", AWS_ENDPOINT_URL=f"http://127.0.0.1:{PORT}")
    assert "cannot be reached: no answer within 5 s" in said


def test_a_host_that_does_not_exist_is_told(s3_service: str) -> None:
    assert "cannot be reached" in opened("s3://smolflow/runs", AWS_ENDPOINT_URL="http://no-such-host.invalid:9000")


def test_missing_credentials_are_told(s3_service: str, tmp_path: Path) -> None:
    nowhere = {"AWS_EC2_METADATA_DISABLED": "true", "HOME": str(tmp_path), "AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
    assert "no credentials in the environment" in opened("s3://smolflow/runs", **nowhere)


def test_a_missing_bucket_is_told(s3_service: str) -> None:
    with pytest.raises(StoreError, match="there is no bucket 'nobody-made-it'"):
        Store.open("s3://nobody-made-it/runs")


def test_refused_credentials_are_told(s3_service: str) -> None:
    def refusing(app: Any) -> Any:
        def answer(environ: dict[str, Any], start_response: Any) -> Any:
            if environ["REQUEST_METHOD"] == "PUT" and environ["PATH_INFO"].count("/") == 1:
                return app(environ, start_response)  # the test's own bucket
            start_response("403 Forbidden", [("Content-Type", "application/xml")])
            return [b"" if environ["REQUEST_METHOD"] == "HEAD" else b"<Error><Code>AccessDenied</Code></Error>"]

        return answer

    with service(refusing) as environment:
        assert "the service refuses" in opened("s3://smolflow/runs", **environment)


def test_a_service_that_ignores_conditions_is_refused_every_time(s3_service: str) -> None:
    def lax(app: Any) -> Any:
        return lambda environ, start_response: app({**environ, "HTTP_IF_NONE_MATCH": ""}, start_response)

    with service(lax) as environment:
        for _ in range(2):
            assert "overwrites an object that was to be created only once" in opened("s3://smolflow/runs", **environment)


@pytest.mark.slow  # the store tries again for a while
def test_a_service_that_goes_away_later_is_told_and_nothing_is_sealed(
    s3_service: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = MotoServer(PORT)
    server.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.environment["AWS_ENDPOINT_URL"])
    store = Store.open(f"s3://{BUCKET}/later")
    with store.begin("curate", "w") as workspace:
        server.stop()
        with pytest.raises(StoreError, match="cannot be reached"):
            workspace.put("result", folder_of(tmp_path / "a"))
        server.start()
        assert workspace.parts() == []
    server.stop()


def test_a_store_of_a_newer_version_is_refused(store: Store, url: str) -> None:
    store.objects.write("format.json", b'{"format": 2}')
    with pytest.raises(StoreError, match=r"written by a newer smolflow \(format 2; this one knows up to 1\)"):
        Store.open(url)
    store.objects.write("format.json", b"{")
    with pytest.raises(IntegrityError, match="format file is damaged"):
        Store.open(url)


def test_a_manifest_of_a_newer_version_is_refused_not_taken_for_damage(store: Store, tmp_path: Path) -> None:
    from infra.store.documents import Manifest, sign

    artifact = commit(store, folder_of(tmp_path / "a"))
    newer = Manifest(**{**artifact.manifest.model_dump(), "format": 2})
    store.objects.write("artifacts/curate/f1/manifest.json", sign(newer)[0])
    with pytest.raises(StoreError, match="newer smolflow"):
        store.find("f1")


@pytest.mark.parametrize("url", ["", "ftp://host/store", "s3://", "s3:///"])
def test_a_url_that_names_no_store_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="names no store"):
        Store.open(url)


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StoreError, match="folder cannot be used"):
        Store.open(str(tmp_path / "file" / "store"))


def test_importing_the_store_brings_in_nothing_heavy() -> None:
    code = "import sys, infra.store, infra.job; print(sorted({'prefect', 'mlflow', 'torch', 's3fs', 'boto3', 'psutil'} & set(sys.modules)))"
    assert python(code).communicate()[0] == "[]\n"
    assert sys.version_info >= (3, 11)
