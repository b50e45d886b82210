"""A tokenizer of the line's own, and conversations: what every test of chat data begins with."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.data import tokenizer
from tasks.data.config import TokenizerConfig
from tasks.posttraining import Sample
from tests.tasks.data.material import prose, silent

ADD: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Sum of two numbers.",
        "parameters": {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}, "required": ["a", "b"]},
    },
}
THOUGHT = "<think>\n7+5=12\n4+8+1=13\n</think>\nThe answer is 132."


def dense(number: int) -> str:
    """Words with three line ends in a row, which become one token."""
    return prose(number).replace(".\n\n", "\n\n\n")


def train_tokenizer(folder: Path, text: Callable[[int], str] = dense, vocab_size: int = 512) -> Path:
    """A tokenizer folder as the stage `tokenizer` leaves it, trained on 40 texts by their number."""
    for split in ("train", "heldout"):
        (folder / "curate" / split).mkdir(parents=True)
        rows = [
            {
                "id": f"prose/{n}",
                "text": text(n),
                "source": "prose",
                "licence": "",
                "origin": f"{n}",
                "group": f"{n}",
            }
            for n in range(40 if split == "train" else 2)
        ]
        pq.write_table(pa.Table.from_pylist(rows), folder / "curate" / split / "prose-00000.parquet")
    out = folder / "tokenizer"
    out.mkdir()
    tokenizer(TokenizerConfig(vocab_size=vocab_size), {"curate": folder / "curate"}, out, silent)
    return out


def ask(text: str) -> dict[str, Any]:
    """A user's message."""
    return {"role": "user", "content": text}


def say(text: str | None, **more: Any) -> dict[str, Any]:
    """An assistant's message."""
    return {"role": "assistant", "content": text, **more}


def system(text: str) -> dict[str, Any]:
    """A system message."""
    return {"role": "system", "content": text}


def call(a: int, b: int) -> dict[str, Any]:
    """A tool call as messages carry it."""
    return {"type": "function", "function": {"name": "add", "arguments": {"a": a, "b": b}}}


def sample(*messages: dict[str, Any], tools: Any = None, mode: Any = "no_think", source: str = "set", **kwargs: Any) -> Sample:
    """A sample of these messages; keywords are template arguments."""
    return Sample(list(messages), kwargs, tools, source, "row:1", mode)


def write_lines(path: Path, rows: Sequence[Any]) -> Path:
    """A file of JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
