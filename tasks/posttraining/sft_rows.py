"""Conversations as rows of `input_ids` and `labels`, with the very mask that the chat page shows: TRL makes none of its own."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from contracts.errors import InputError
from tasks.posttraining.chat_files import read_chat
from tasks.posttraining.config import ChatSource
from tasks.posttraining.mixture import SourceShare, take, with_shares
from tasks.posttraining.rendering import Renderer
from tasks.posttraining.requests import SftRequest

IGNORED = -100
"""Label of a token without loss."""


@dataclass
class Rows:
    """Tokens of many conversations, end to end: 8 bytes a token instead of Python's 72."""

    ids: array[int] = field(default_factory=lambda: array("i"))
    labels: array[int] = field(default_factory=lambda: array("i"))
    ends: list[int] = field(default_factory=lambda: [0])
    trained: list[int] = field(default_factory=list)
    """Tokens with loss of each conversation, within the length limit."""

    def add(self, ids: Sequence[int], mask: Sequence[int], limit: int) -> None:
        """Append one conversation, cut to `limit` tokens."""
        self.ids.extend(ids[:limit])
        self.labels.extend([id_ if on else IGNORED for id_, on in zip(ids[:limit], mask[:limit], strict=True)])
        self.ends.append(len(self.ids))
        self.trained.append(sum(mask[:limit]))

    @property
    def lengths(self) -> list[int]:
        """Tokens of each conversation."""
        return [end - start for start, end in zip(self.ends, self.ends[1:], strict=False)]

    def chosen(self, indices: Sequence[int]) -> Rows:
        """These conversations, in this order."""
        found = Rows()
        for index in indices:
            where = slice(self.ends[index], self.ends[index + 1])
            found.ids.extend(self.ids[where])
            found.labels.extend(self.labels[where])
            found.ends.append(len(found.ids))
            found.trained.append(self.trained[index])
        return found

    def extend(self, other: Rows) -> None:
        """Append the conversations of another one."""
        held = len(self.ids)
        self.ids.extend(other.ids)
        self.labels.extend(other.labels)
        self.ends.extend(held + end for end in other.ends[1:])
        self.trained.extend(other.trained)

    def dataset(self) -> Any:
        """A `datasets.Dataset` with the columns `input_ids` and `labels`."""
        import numpy as np
        import pyarrow as pa
        from datasets import Dataset
        from datasets.table import InMemoryTable

        offsets = pa.array(np.array(self.ends, dtype=np.int64))
        columns = {
            name: pa.LargeListArray.from_arrays(offsets, pa.array(np.frombuffer(values, dtype=np.int32)))
            for name, values in (("input_ids", self.ids), ("labels", self.labels))
        }
        return Dataset(InMemoryTable(pa.table(columns)))


@dataclass(frozen=True)
class SftData:
    """What a step trains on."""

    rows: Rows
    shares: list[SourceShare]
    cut: int
    """Conversations longer than the limit."""
    silent: int
    """Conversations left out: every token with loss lay beyond the limit, or there was none."""


def sft_data(request: SftRequest, renderer: Renderer, chat: Path) -> SftData:
    """Render and mix the sources of a step.

    Args:
        chat: artifact of the stage `chat`.

    Raises:
        InputError: a source that is missing or empty, a conversation the template refuses, a source of which nothing carries loss within
            the length limit.
    """
    rows, shares, cut, silent = Rows(), [], 0, 0
    for source in request.step.sources:
        mine, long, quiet = _rendered(source, request, renderer, source_file(chat, request.stage, source))
        cut, silent = cut + long, silent + quiet
        taken = mine.chosen(take(mine.lengths, source.weight, f"{request.step.seed}/{source.name}"))
        rows.extend(taken)
        shares.append(
            SourceShare(
                source=source.name, mode=source.mode, conversations=len(mine.trained), used=len(taken.trained),
                tokens=len(taken.ids), trained=sum(taken.trained),
            )
        )  # fmt: skip
    return SftData(rows, with_shares(shares), cut, silent)


def source_file(chat: Path, stage: str, source: ChatSource) -> Path:
    """The file of a step's source in the artifact of `chat`.

    Raises:
        InputError: not there.
    """
    path = chat / stage / f"{source.name}.jsonl"
    if not path.is_file():
        raise InputError(f"no conversations of source '{source.name}'", where=str(path), do="run the stage `chat` again with this recipe")
    return path


def _rendered(source: ChatSource, request: SftRequest, renderer: Renderer, path: Path) -> tuple[Rows, int, int]:
    limit, rows, cut, silent, read = request.step.max_length, Rows(), 0, 0, 0
    if request.step.packing == "wrapped":
        limit = sys.maxsize  # what does not fit goes on in the next sequence
    for sample in read_chat(path, source.mode):
        made = renderer.render(sample)
        mask = made.mask if request.step.assistant_only_loss else [1] * len(made.ids)
        read += 1
        cut += len(made.ids) > limit
        if not any(mask[:limit]):
            silent += 1
            continue
        rows.add(made.ids, mask, limit)
    if not read:
        raise InputError(f"source '{source.name}' is empty", where=str(path), do="look at what the linter and the contamination check left")
    if not rows.trained:
        raise InputError(
            f"of {read} conversations of '{source.name}' none has a label: max_length {limit} cuts before the first answer",
            where=str(path), do="raise max_length above the longest prompt",
        )  # fmt: skip
    return rows, cut, silent
