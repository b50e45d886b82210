"""Token streams: windows over the documents end to end; damaged files are named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from contracts.errors import InputError
from tasks.training.stream import Shards, TokenStream
from tests.tasks.training.material import documents, write_shards


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_shards(tmp_path, {"a": 30, "b": 5})


def test_windows_run_over_document_ends(folder: Path) -> None:
    stream = Shards.open(folder).stream("a")
    tokens = np.concatenate(documents(30, seed=0))
    assert stream.tokens == len(tokens)
    windows = stream.windows([0, 7, stream.count(16) - 1], 16)
    assert windows.dtype == np.int64
    assert [list(w) for w in windows] == [list(tokens[i * 16 : i * 16 + 17]) for i in (0, 7, (len(tokens) - 1) // 16 - 1)]


def test_the_files_are_what_megatrons_own_builder_writes(tmp_path: Path) -> None:
    import torch

    from models import backend  # noqa: F401  before megatron.core

    # isort: split
    from megatron.core.datasets.indexed_dataset import IndexedDatasetBuilder

    builder = IndexedDatasetBuilder(str(tmp_path / "own.bin"), dtype=np.uint16)
    for tokens in documents(9, seed=4):
        builder.add_document(torch.as_tensor(tokens), [len(tokens)])
    builder.finalize(str(tmp_path / "own.idx"))
    assert list(TokenStream(tmp_path / "own").windows([1], 8)[0]) == list(np.concatenate(documents(9, seed=4))[8:17])


def test_a_truncated_bin_is_named(folder: Path) -> None:
    path = folder / "a.bin"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"cut short.*\[.*a\.bin\]"):
        TokenStream(folder / "a")


def test_a_bin_of_another_index_is_refused(folder: Path) -> None:
    (folder / "b.bin").write_bytes((folder / "a.bin").read_bytes())
    with pytest.raises(InputError, match=r"not its own"):
        TokenStream(folder / "b")


@pytest.mark.parametrize("keep", [0, 5, 30, 60])
def test_a_truncated_index_is_named(folder: Path, keep: int) -> None:
    path = folder / "a.idx"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match=r"a\.idx"):
        TokenStream(folder / "a")


@pytest.mark.parametrize("name", ["a.bin", "a.idx"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(InputError, match=name):
        TokenStream(folder / "a")


def test_a_source_shorter_than_one_sequence_is_refused(folder: Path) -> None:
    with pytest.raises(InputError, match=r"one sequence needs 100,001"):
        Shards.open(folder).stream("b").count(100_000)


@pytest.mark.parametrize("text", ["", "{}", '{"vocab_size": 1, "eod": 0}'])
def test_a_damaged_shards_json_is_named(folder: Path, text: str) -> None:
    (folder / "shards.json").write_text(text)
    with pytest.raises(InputError, match=r"shards\.json"):
        Shards.open(folder)
