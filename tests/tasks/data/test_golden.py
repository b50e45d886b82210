"""Frozen results: code that changes what a data stage writes must raise that stage's version (in flows/) and renew these digests."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from tasks.data import read_documents
from tasks.data.config import DataConfig, TokenizerConfig
from tests.tasks.data.material import prose, run_line

GOLDEN = {
    "train": "e3a11cec740aee10",
    "heldout": "00f1f5e56b46a4a5",
    "tokenizer": "57a69d6d8b64b6b3",
    "bin": "bae9f9df49959191",
    "idx": "29a5ce84990138e0",
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("golden")
    page = "## area(width, height)\n\nGive the area of\nthe rectangle.\n\nParameters\n----------\nwidth : float\n    Its width.\n\n"
    rows = [{"text": page + prose(n, 30), "url": f"https://site{n % 9}.org/{n}"} for n in range(60)] + [{"text": "short"}]
    (folder / "pages.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    one = {
        "name": "pages",
        "kind": "files",
        "path": str(folder / "pages.jsonl"),
        "filters": "prose",
        "reflow": True,
        "split_characters": 900,
    }
    data = DataConfig.parse({"sources": [one | {"heldout": {"share": 0.2, "item_characters": 400}}]})
    run_line(data, TokenizerConfig(vocab_size=512), folder)
    return folder


def found(root: Path, what: str) -> str:
    """Digest of documents (as text, since Parquet bytes belong to pyarrow's version) or of a file."""
    if what in {"train", "heldout"}:
        rows = [list(document) for document in read_documents(root / "curate" / what)]
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]
    path = root / "tokenizer" / "tokenizer.json" if what == "tokenizer" else root / "tokenize" / f"pages.{what}"
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


@pytest.mark.parametrize("what", GOLDEN)
def test_result_is_as_frozen(root: Path, what: str) -> None:
    assert found(root, what) == GOLDEN[what]
