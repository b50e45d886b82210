"""Objects in any S3-compatible service: credentials and AWS_ENDPOINT_URL from the environment, create-only writes by If-None-Match."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from infra.store.errors import StoreError
from infra.store.objects import CHUNK
from infra.store.remote import FsspecObjects

OPEN_SECONDS = 5.0
READ_SECONDS = 180
"""A service may take this long to assemble a large upload; with a shorter limit the request is repeated while the first is at work."""
CONCURRENT_PIECES = 8
CONFLICTS = ("PreconditionFailed", "ConditionalRequestConflict")


class S3Objects(FsspecObjects):
    """`bucket/prefix` of an S3-compatible service, through s3fs."""

    def __init__(self, place: str) -> None:
        import s3fs

        files = s3fs.S3FileSystem(
            use_listings_cache=False,
            endpoint_url=os.environ.get("AWS_ENDPOINT_URL"),
            max_concurrency=CONCURRENT_PIECES,
            config_kwargs={
                "connect_timeout": OPEN_SECONDS,
                "read_timeout": READ_SECONDS,
                "retries": {"mode": "standard", "max_attempts": 4},
            },
        )
        place = place.strip("/")
        self._bucket = place.split("/", 1)[0]
        super().__init__(f"s3://{place}", place, files)
        self._dial()
        self._knock()

    def create(self, key: str, data: bytes) -> bool:
        """A conditional PUT. A repeated request that finds its own first copy counts as won: the bytes are compared."""
        bucket, _, name = self._path(key).partition("/")
        for _ in range(3):
            try:
                with self._asking(key):
                    self._files.call_s3("put_object", Bucket=bucket, Key=name, Body=data, IfNoneMatch="*")
                return True
            except FileExistsError:
                try:
                    return self.read(key) == data
                except FileNotFoundError:
                    continue  # two writers collided and neither has won yet
        return False

    def upload(self, source: Path, key: str) -> None:
        """Copy a local file to `key`, large ones in pieces side by side."""
        with self._asking(key):
            self._files.put_file(str(source), self._path(key), chunksize=CHUNK, max_concurrency=CONCURRENT_PIECES)

    def _dial(self) -> None:
        """Open and close a connection to AWS_ENDPOINT_URL: tells at once where nobody listens. Behind a proxy only a request can."""
        place = urlsplit(os.environ.get("AWS_ENDPOINT_URL", ""))
        if not place.hostname or (place.scheme in getproxies() and not proxy_bypass(place.hostname)):
            return
        try:
            socket.create_connection((place.hostname, place.port or (443 if place.scheme == "https" else 80)), OPEN_SECONDS).close()
        except OSError as error:
            raise self._away(str(error)) from error

    def _knock(self) -> None:
        """One request with a short limit, so that a service that is away is noticed at once.

        Raises:
            StoreError: no answer, no credentials, no such bucket, or no permission.
        """
        answer: dict[str, Any] = {}

        def ask() -> None:
            try:
                self._files.call_s3("head_bucket", Bucket=self._bucket)
            except BaseException as error:  # handed to the caller below
                answer["error"] = error

        request = threading.Thread(target=ask, daemon=True, name="s3-knock")
        request.start()
        request.join(OPEN_SECONDS)
        if request.is_alive():
            raise self._away(f"no answer within {OPEN_SECONDS:g} s")
        if "error" in answer:
            with self._asking(""):
                raise answer["error"]

    def _away(self, why: str) -> StoreError:
        place = os.environ.get("AWS_ENDPOINT_URL") or "the endpoint of AWS_REGION (AWS_ENDPOINT_URL is not set)"
        do = "start the service or correct AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY; or use a local folder as the store"
        return StoreError(f"the store at {place} cannot be reached: {why}", do=do, where=self.url)

    @contextmanager
    def _asking(self, key: str) -> Iterator[None]:
        """botocore's errors as ours; FileNotFoundError (of an object) and FileExistsError pass to the caller."""
        from aiohttp import ClientError as HttpError
        from botocore.exceptions import BotoCoreError, NoCredentialsError

        try:
            yield
        except NoCredentialsError as error:
            raise self._away("no credentials in the environment") from error
        except (TimeoutError, BotoCoreError, HttpError, ConnectionError) as error:
            raise self._away(str(error) or type(error).__name__) from error
        except OSError as error:
            code = _code(error)
            if code in CONFLICTS:
                raise FileExistsError(key) from error
            if code == "NoSuchBucket" or (not key and isinstance(error, FileNotFoundError)):
                raise StoreError(
                    f"there is no bucket '{self._bucket}'", do="create it, or correct the store's URL", where=self.url
                ) from error
            if isinstance(error, PermissionError):
                raise StoreError(
                    f"the service refuses: {error}", do="check the credentials and what they may do", where=f"{self.url}/{key}".rstrip("/")
                ) from error
            if code and not isinstance(error, FileNotFoundError):
                raise StoreError(
                    f"the service failed: {error}", do="run again; if it stays, read its log", where=f"{self.url}/{key}".rstrip("/")
                ) from error
            raise


def _code(error: OSError) -> str:
    response = getattr(error.__cause__, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))
