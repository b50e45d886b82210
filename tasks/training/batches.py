"""From the order of sequences to what one forward pass is given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from contracts.errors import ConfigError, InputError
from tasks.training.config import Phase
from tasks.training.order import Blend, Place, SourceOrder
from tasks.training.stream import Shards, TokenStream

Windows = NDArray[np.int64]


@dataclass(frozen=True)
class MicroBatch:
    """One forward pass of one replica."""

    tokens: torch.Tensor
    """[micro_batch_size, sequence_length], int64."""
    labels: torch.Tensor
    """The next token of each, same shape."""
    weights: torch.Tensor
    """Weight of each token in the loss, same shape, float32."""
    cu_seqlens: torch.Tensor | None
    """With document masking: where documents begin in the flattened batch, and its end; int32."""

    def to(self, device: torch.device) -> MicroBatch:
        """The same on `device`."""
        ends = None if self.cu_seqlens is None else self.cu_seqlens.to(device, non_blocking=True)
        tokens, labels, weights = (t.to(device, non_blocking=True) for t in (self.tokens, self.labels, self.weights))
        return MicroBatch(tokens, labels, weights, ends)


class TrainingData:
    """The endless blend of a phase's sources, at any data-parallel size, resumed from counts alone."""

    def __init__(
        self, shards: Shards, phase: Phase, seed: int, starts: Mapping[str, Place], counts: Mapping[str, int] | None = None
    ) -> None:
        """`starts`: where the phase before stopped, by source; `counts`: sequences of each source already read in this phase.

        Raises:
            InputError: a source is missing, damaged, or shorter than one sequence.
        """
        self._length = phase.sequence_length
        self._streams, self._orders = [], []
        for source in phase.shares:
            stream = source_stream(shards, source)
            stream.count(self._length)
            self._streams.append(stream)
            self._orders.append(SourceOrder(source, stream.tokens, self._length, seed, starts.get(source)))
        self._blend = Blend(phase.shares, counts)

    def next(self, number: int, share: slice) -> Windows:
        """Of the next `number` sequences of the phase, those in `share`, as windows of sequence_length + 1 tokens.

        Every rank asks for the same `number` and its own share, so that all keep the same place.
        """
        sources, before = (column[share] for column in self._blend.take(number))
        windows = np.empty((len(sources), self._length + 1), dtype=np.int64)
        for index, (stream, order) in enumerate(zip(self._streams, self._orders, strict=True)):
            rows = np.flatnonzero(sources == index)
            if len(rows):
                windows[rows] = stream.windows(order.window(before[rows]), self._length)
        return windows

    @property
    def counts(self) -> dict[str, int]:
        """Sequences of each source read in this phase."""
        return self._blend.counts

    def places(self) -> dict[str, Place]:
        """Where each source stands now."""
        return {order.source: order.place(self._blend.counts[order.source]) for order in self._orders}

    def source_tokens(self) -> dict[str, int]:
        """Length of each source's stream."""
        return {order.source: order.tokens for order in self._orders}


def source_stream(shards: Shards, source: str) -> TokenStream:
    """The training text of `source`.

    Raises:
        InputError: the shards hold no such source, or its files are damaged.
    """
    if source not in shards.sources:
        raise InputError(
            f"the mixture asks for '{source}', and the shards hold {', '.join(sorted(shards.sources)) or 'nothing'}",
            where=str(shards.folder),
            do="correct the mixture, or add the source to data.sources",
        )
    return shards.stream(source)


def heldout_windows(shards: Shards, source: str, sequence_length: int, number: int) -> Windows | None:
    """`number` windows spread evenly over the held-out text of `source`, fewer where it is short; None where it has not even one."""
    if not shards.sources[source].get("heldout_tokens"):
        return None
    stream = shards.heldout(source)
    held = (stream.tokens - 1) // sequence_length
    if held < 1:
        return None
    chosen = np.unique(np.linspace(0, held - 1, min(number, held)).astype(np.int64))
    return stream.windows(chosen, sequence_length)


def micro_batches(
    windows: Windows, size: int, eod: int | None, weights: Sequence[float] | NDArray[np.float32] | None = None
) -> Iterator[MicroBatch]:
    """Cut windows [n, S + 1] into batches of `size` sequences.

    Args:
        eod: token that ends a document, for document masking: tokens then see their own document only. None: the whole sequence.
        weights: of each window in the loss; unset: 1.
    """
    length = windows.shape[1] - 1
    for first in range(0, len(windows), size):
        block = torch.from_numpy(windows[first : first + size])
        tokens, labels = block[:, :-1].contiguous(), block[:, 1:].contiguous()
        loss = torch.ones(tokens.shape, dtype=torch.float32)
        if weights is not None:
            loss *= torch.as_tensor(np.asarray(weights[first : first + size], dtype=np.float32))[:, None]
        ends = None if eod is None else _document_starts(tokens, eod, length)
        yield MicroBatch(tokens, labels, loss, ends)


def share_of(rank: int, replicas: int, global_batch_size: int) -> slice:
    """The sequences of a global batch that replica `rank` reads: a contiguous piece, so the batch is the same set at any replica count.

    Raises:
        ConfigError: the batch cannot be shared out evenly.
    """
    if global_batch_size % replicas:
        raise ConfigError(f"global_batch_size {global_batch_size} cannot be shared by {replicas} replicas", do="change one of them")
    each = global_batch_size // replicas
    return slice(rank * each, (rank + 1) * each)


def _document_starts(tokens: torch.Tensor, eod: int, length: int) -> torch.Tensor:
    """A document begins with every sequence and after every `eod`. int32 [documents + 1]."""
    starts = torch.empty(tokens.shape, dtype=torch.bool)
    starts[:, 0] = True
    torch.eq(tokens[:, : length - 1], eod, out=starts[:, 1:])
    found = starts.view(-1).nonzero().view(-1)
    return torch.cat([found, torch.tensor([tokens.numel()])]).to(torch.int32)
