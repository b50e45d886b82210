from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import boto3
import fsspec
import pytest

from contracts.config import digest, identity
from contracts.errors import InputError
from infra.stack.ports import free_port
from tasks.data import snapshot_digest, source, tokenizer_digest
from tasks.data.config import DataConfig, SourceConfig, TokenizerConfig
from tests.infra.store.material import BUCKET, MotoServer
from tests.tasks.data.material import silent


def sources(path: object, **more: Any) -> SourceConfig:
    return DataConfig.parse({"sources": [{"name": "mine", "kind": "files", "path": str(path), **more}]}).for_source()


def folder_with(root: Path, **files: str) -> Path:
    root.mkdir(parents=True)
    for name, text in files.items():
        (root / f"{name}.txt").write_text(text)
    return root


def test_local_files_are_known_by_content_and_relative_name(tmp_path: Path) -> None:
    first = folder_with(tmp_path / "first", a="one", b="two")
    before = snapshot_digest(sources(first))
    moved = Path(shutil.move(first, tmp_path / "moved"))
    assert snapshot_digest(sources(moved)) == before
    assert digest(identity(sources(first))) == digest(identity(sources(moved)))
    (moved / "a.txt").write_text("one!")
    changed = snapshot_digest(sources(moved))
    (moved / "c.txt").write_text("")
    assert len({before, changed, snapshot_digest(sources(moved))}) == 3


def test_renaming_a_file_changes_the_digest(tmp_path: Path) -> None:
    folder = folder_with(tmp_path / "in", a="one")
    before = snapshot_digest(sources(folder))
    (folder / "a.txt").rename(folder / "b.txt")
    assert snapshot_digest(sources(folder)) != before


def test_remote_files_by_size_and_tag() -> None:
    with fsspec.open("memory://snap/a.txt", "wb") as handle:
        handle.write(b"one")
    before = snapshot_digest(sources("memory://snap"))
    assert snapshot_digest(sources("memory://snap")) == before
    with fsspec.open("memory://snap/a.txt", "wb") as handle:
        handle.write(b"one more")
    assert snapshot_digest(sources("memory://snap")) != before


def test_the_stage_records_the_digest_after_copying(tmp_path: Path) -> None:
    folder = folder_with(tmp_path / "in", a="one", b="two")
    wanted, planned = sources(folder), snapshot_digest(sources(folder))
    (tmp_path / "one").mkdir()
    assert source(wanted, {}, tmp_path / "one", silent).evidence["snapshot"] == planned
    times = (folder / "a.txt").stat()
    (folder / "a.txt").write_text("eno")
    os.utime(folder / "a.txt", ns=(times.st_atime_ns, times.st_mtime_ns))  # as a copy that keeps times does
    (tmp_path / "two").mkdir()
    assert source(wanted, {}, tmp_path / "two", silent).evidence["snapshot"] != planned


def test_a_changed_object_in_s3_is_seen_by_the_process_that_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    server = MotoServer(free_port())
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    server.start()
    try:
        place = f"s3://{BUCKET}/texts"
        with fsspec.open(f"{place}/a.txt", "wb") as handle:
            handle.write(b"one")
        before = snapshot_digest(sources(place))
        assert snapshot_digest(sources(place)) == before
        client = boto3.client("s3")
        client.put_object(Bucket=BUCKET, Key="texts/a.txt", Body=b"two")
        changed = snapshot_digest(sources(place))
        client.put_object(Bucket=BUCKET, Key="texts/b.txt", Body=b"new")
        assert len({before, changed, snapshot_digest(sources(place))}) == 3
    finally:
        server.stop()


def test_missing_path_is_refused_when_planning(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing is there"):
        snapshot_digest(sources(tmp_path / "absent"))


def test_hub_and_published_sources_need_no_network() -> None:
    hub = {"name": "hub", "kind": "huggingface", "path": "org/name", "split": "train"}
    one, two = (
        DataConfig.parse({"sources": [hub | {"revision": r}, {"name": "p", "kind": "published"}]}).for_source() for r in ("abc", "def")
    )
    assert snapshot_digest(one) != snapshot_digest(two)


def test_tokenizer_folder_by_content(tmp_path: Path) -> None:
    assert tokenizer_digest(TokenizerConfig()) is None
    folder = folder_with(tmp_path / "tok", tokenizer="{}")
    before = tokenizer_digest(TokenizerConfig(path=str(folder)))
    (folder / "tokenizer.txt").write_text("{ }")
    assert before != tokenizer_digest(TokenizerConfig(path=str(folder)))
