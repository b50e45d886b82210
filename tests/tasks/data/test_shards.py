from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from megatron.core.datasets.indexed_dataset import DType, IndexedDataset, IndexedDatasetBuilder
from transformers import AutoTokenizer

from contracts.errors import InputError
from tasks.data import check_shard, read_documents, tokenize
from tasks.data.config import TokenizeConfig
from tasks.data.documents import Document, DocumentWriter
from tasks.data.indexed import IndexedWriter, token_dtype
from tests.tasks.data.conftest import Line
from tests.tasks.data.material import files_under, silent


def run(line: Line, out: Path, curate: Path | None = None, **more: object) -> Path:
    out.mkdir(parents=True)
    inputs = {"curate": curate or line.root / "curate", "tokenizer": line.root / "tokenizer"}
    tokenize(TokenizeConfig.parse(more), inputs, out, silent)
    return out


@pytest.mark.parametrize("vocab_size", [1024, 65_499, 65_500, 128_256])
def test_bytes_equal_megatrons_own_builder(tmp_path: Path, vocab_size: int) -> None:
    draw = np.random.default_rng(0)
    documents = [draw.integers(0, vocab_size, size, dtype=np.uint32) for size in (1, 7, 300, 2, 1)]
    theirs = IndexedDatasetBuilder(str(tmp_path / "theirs.bin"), dtype=DType.optimal_dtype(vocab_size))
    for document in documents:
        theirs.add_document(torch.from_numpy(document.astype(np.int64)), [len(document)])
    theirs.finalize(str(tmp_path / "theirs.idx"))
    with IndexedWriter(tmp_path / "ours", vocab_size) as ours:
        ours.add(documents[:2])
        ours.add([])
        ours.add(documents[2:])
    for suffix in (".bin", ".idx"):
        assert (tmp_path / f"ours{suffix}").read_bytes() == (tmp_path / f"theirs{suffix}").read_bytes()
    assert check_shard(tmp_path / "ours") == (5, 311)
    assert token_dtype(vocab_size) is DType.optimal_dtype(vocab_size)


def test_empty_source_part_equals_megatrons_own_builder(tmp_path: Path) -> None:
    IndexedDatasetBuilder(str(tmp_path / "theirs.bin"), dtype=np.uint16).finalize(str(tmp_path / "theirs.idx"))
    with IndexedWriter(tmp_path / "ours", 1024):
        pass
    assert (tmp_path / "ours.idx").read_bytes() == (tmp_path / "theirs.idx").read_bytes() and check_shard(tmp_path / "ours") == (0, 0)


def test_megatron_reads_what_transformers_encodes(line: Line) -> None:
    theirs = AutoTokenizer.from_pretrained(line.root / "tokenizer")
    shards = json.loads((line.root / "tokenize" / "shards.json").read_text())
    row = shards["sources"]["code"]
    assert shards["vocab_size"] == 1024 and shards["eod"] == theirs.eos_token_id
    for part, prefix in (("train", ""), ("heldout", "heldout_")):
        documents = list(read_documents(line.root / "curate" / part, "code"))
        name = line.root / "tokenize" / ("heldout" if prefix else "") / "code"
        dataset = IndexedDataset(str(name))
        assert len(dataset) == len(documents) == row[f"{prefix}documents"] == check_shard(name)[0]
        assert sum(dataset.sequence_lengths) == row[f"{prefix}tokens"] == check_shard(name)[1]
        assert sum(document.size for document in documents) == row[f"{prefix}bytes"]
        for index, document in enumerate(documents):
            assert dataset[index].tolist() == [*theirs(document.text)["input_ids"], theirs.eos_token_id]


def test_files_are_the_same_every_time_and_with_threads(line: Line, tmp_path: Path) -> None:
    assert (
        files_under(run(line, tmp_path / "again"))
        == files_under(line.root / "tokenize")
        == files_under(run(line, tmp_path / "two", threads=2))
    )


@pytest.mark.parametrize(("mode", "ends"), [("token", 3), ("text", 1)])
def test_control_tokens_spelled_out_in_a_document(line: Line, tmp_path: Path, mode: str, ends: int) -> None:
    text = "before <|endoftext|> between <|endoftext|> after <think>"
    for part in ("train", "heldout"):
        with DocumentWriter(tmp_path / "curate" / part, "code") as writer:
            writer.add(Document("a", text, "code", "MIT", "a"))
    out = run(line, tmp_path / "out", tmp_path / "curate", special_tokens_in_text=mode)
    shards = json.loads((out / "shards.json").read_text())
    dataset = IndexedDataset(str(out / "code"))  # its arrays are views that end with it
    tokens = dataset[0].copy()
    assert (tokens == shards["eod"]).sum() == ends and shards["sources"]["code"]["special_tokens_in_text"] == 2
    theirs = AutoTokenizer.from_pretrained(line.root / "tokenizer")
    assert theirs.convert_tokens_to_ids("<think>") in tokens


def test_source_without_tokens_is_refused(line: Line, tmp_path: Path) -> None:
    for part in ("train", "heldout"):
        DocumentWriter(tmp_path / "curate" / part, "code").close()
    with pytest.raises(InputError, match="source 'code' has no tokens"):
        run(line, tmp_path / "out", tmp_path / "curate")


def test_interrupted_writer_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), IndexedWriter(tmp_path / "a", 1024) as writer:
        writer.add([np.array([1, 2], dtype=np.uint32)])
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("suffix", "said"), [(".bin", "cut short"), (".idx", "bytes instead of"), (".gone", "missing"), (".other", "not the index")]
)
def test_truncated_shard_is_refused(line: Line, tmp_path: Path, suffix: str, said: str) -> None:
    for end in (".bin", ".idx"):
        content = (line.root / "tokenize" / f"code{end}").read_bytes()
        (tmp_path / f"code{end}").write_bytes(content[:-2] if end == suffix else content)
    if suffix == ".gone":
        (tmp_path / "code.bin").unlink()
    if suffix == ".other":
        (tmp_path / "code.idx").write_bytes(b"x" * 100)
    with pytest.raises(InputError, match=said):
        check_shard(tmp_path / "code")
