"""Files, URLs and Hugging Face data sets as sources."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from contracts.errors import InputError
from tasks.data import read_documents
from tasks.data.config import DataConfig
from tests.tasks.data.material import prose, run_source


def data_of(path: object, **more: Any) -> DataConfig:
    return DataConfig.parse({"sources": [{"name": "mine", "kind": "files", "path": str(path), "licence": "CC0-1.0", **more}]})


def jsonl(rows: list[Any]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def filled(folder: Path) -> Path:
    """A folder with one file of every format."""
    (folder / "deep").mkdir(parents=True)
    (folder / "a.txt").write_text("plain\r\ntext", encoding="utf-8")
    (folder / "deep" / "b.md").write_text("# é", encoding="utf-8")
    (folder / "c.jsonl").write_bytes(
        jsonl([{"text": "one", "url": "https://example.org/1"}, {"text": ""}, {"text": "two", "license": "MIT", "url": "http://[no"}])
    )
    (folder / "d.jsonl.gz").write_bytes(gzip.compress(jsonl([{"text": "three"}])))
    with pa.CompressedOutputStream(str(folder / "e.jsonl.zst"), "zstd") as stream:
        stream.write(jsonl([{"text": "four"}]))
    pq.write_table(pa.table({"text": ["five", None], "other": [1, 2]}), folder / "f.parquet")
    (folder / "ignored.bin").write_bytes(b"\0")
    (folder / ".hidden.txt").write_text("no")
    return folder


@pytest.mark.parametrize("shape", ["{}", "file://{}", "{}/*.jsonl", "{}/a.txt", "{}/**/*.md"])
def test_formats_folders_patterns_and_urls(tmp_path: Path, shape: str) -> None:
    folder = filled(tmp_path / "in")
    summary = run_source(data_of(shape.format(folder)), tmp_path)
    texts = {d.id: (d.text, d.licence, d.group) for d in read_documents(tmp_path / "source", "mine")}
    whole = {
        "mine/a.txt": ("plain\ntext", "CC0-1.0", "file:a.txt"),
        "mine/deep/b.md": ("# é", "CC0-1.0", "file:deep/b.md"),
        "mine/c.jsonl:1": ("one", "CC0-1.0", "domain:example.org"),
        "mine/c.jsonl:3": ("two", "MIT", "file:c.jsonl"),
        "mine/d.jsonl.gz:1": ("three", "CC0-1.0", "file:d.jsonl.gz"),
        "mine/e.jsonl.zst:1": ("four", "CC0-1.0", "file:e.jsonl.zst"),
        "mine/f.parquet:0": ("five", "CC0-1.0", "file:f.parquet"),
    }
    wanted = {"{}/*.jsonl": "c.jsonl:", "{}/a.txt": "a.txt", "{}/**/*.md": "b.md"}.get(shape, "")
    assert texts == {key: value for key, value in whole.items() if wanted in key}
    assert summary.counts["documents"] == len(texts)
    if shape == "{}":
        assert summary.evidence["sources"]["mine"]["blank"] == 2


def test_memory_url(tmp_path: Path) -> None:
    with fsspec.open("memory://corpus/part/a.jsonl", "wb") as handle:
        handle.write(jsonl([{"text": "remote"}]))
    run_source(data_of("memory://corpus"), tmp_path)
    assert [(d.id, d.text) for d in read_documents(tmp_path / "source")] == [("mine/part/a.jsonl:1", "remote")]


def test_max_bytes_cuts_at_a_line_end(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("éé\n" * 100, encoding="utf-8")
    summary = run_source(data_of(tmp_path / "a.txt", max_bytes=102), tmp_path)
    assert summary.counts == {"documents": 1, "bytes": 100}


def spoiled(folder: Path) -> dict[str, Path]:
    """One unusable input of every kind, by what its error must say."""
    good = folder / "good.parquet"
    pq.write_table(pa.table({"text": [prose(n) for n in range(50)]}), good)
    content = good.read_bytes()
    inputs = {
        "nothing is there": folder / "absent",
        "Parquet file cannot be read": folder / "cut.parquet",
        "Parquet file cannot be read ": folder / "flipped.parquet",
        "no file of a known format": folder / "images",
        "line 2 is not valid JSON": folder / "bad.jsonl",
        "line 1 is not a JSON object": folder / "list.jsonl",
        "cannot be read": folder / "cut.jsonl.gz",
        "not UTF-8 at byte 2": folder / "latin.txt",
        "no column 'text'": folder / "other.jsonl",
        "holds int, not text": folder / "numbers.jsonl",
        "is empty": folder / "blank.txt",
    }
    inputs["Parquet file cannot be read"].write_bytes(content[: len(content) // 2])
    inputs["Parquet file cannot be read "].write_bytes(content[:200] + b"\0" * (len(content) - 700) + content[-500:])
    inputs["no file of a known format"].mkdir()
    (inputs["no file of a known format"] / "cat.png").write_bytes(b"\x89PNG")
    inputs["line 2 is not valid JSON"].write_bytes(b'{"text": "a"}\n{"text": \n')
    inputs["line 1 is not a JSON object"].write_bytes(b"[1]\n")
    inputs["cannot be read"].write_bytes(gzip.compress(jsonl([{"text": prose(1)}]))[:-30])
    inputs["not UTF-8 at byte 2"].write_bytes(b"caf\xe9".replace(b"caf", b"ca") + b" ol\xe9")
    inputs["no column 'text'"].write_bytes(jsonl([{"body": "a"}]))
    inputs["holds int, not text"].write_bytes(jsonl([{"text": 1}]))
    inputs["is empty"].write_text(" \n")
    return inputs


def test_unusable_inputs_are_refused_by_name(tmp_path: Path) -> None:
    for number, (said, path) in enumerate(spoiled(tmp_path).items()):
        with pytest.raises(InputError, match=said.strip()) as caught:
            run_source(data_of(path), tmp_path / str(number))
        assert path.name in str(caught.value), said


def test_unknown_protocol_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        run_source(data_of("nowhere://bucket/x"), tmp_path)


def test_huggingface_folder(tmp_path: Path) -> None:
    folder = tmp_path / "dataset"
    folder.mkdir()
    pq.write_table(pa.table({"body": ["first", "second"], "url": ["https://a.org/x", None]}), folder / "train-00000-of-00001.parquet")
    one = {"name": "hub", "kind": "huggingface", "path": str(folder), "text_column": "body"}
    run_source(DataConfig.parse({"sources": [one]}), tmp_path)
    found = [(d.id, d.text, d.group) for d in read_documents(tmp_path / "source", "hub")]
    assert found == [("hub/train:0", "first", "domain:a.org"), ("hub/train:1", "second", f"file:{folder}")]
    with pytest.raises(InputError, match="data set cannot be read"):
        run_source(DataConfig.parse({"sources": [one | {"split": "validation"}]}), tmp_path / "other")


def test_published_source_can_be_planned_but_not_fetched(tmp_path: Path) -> None:
    data = DataConfig.parse({"sources": [{"name": "big", "kind": "published", "published_tokens": 10**12}]})
    with pytest.raises(InputError, match="published size only"):
        run_source(data, tmp_path)
