"""Bits per byte of held-out documents under the model and under the bigram, document by document."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.evaluation.bigram import WittenBellBigram
from tasks.evaluation.loading import Model
from tasks.evaluation.scores import Compressed, distinct

Array = NDArray[np.float64]
_TICKS = 10


@dataclass(frozen=True)
class _Window:
    """`tokens` is one forward pass; the losses of its last `scored` positions belong to document `document`."""

    document: int
    tokens: list[int]
    scored: int


def windows(documents: Sequence[Sequence[int]], length: int) -> Iterator[_Window]:
    """Cut documents into passes of at most `length` inputs that move by three quarters: every token is scored exactly once.

    From the second pass on a token is predicted from at least a quarter of a window of its own document. The first token of a document
    is context only.
    """
    step = max(1, length - length // 4)
    for number, tokens in enumerate(documents):
        done = 0  # targets scored so far; target i is tokens[i + 1]
        while done < len(tokens) - 1:
            fresh = min(length if done == 0 else step, len(tokens) - 1 - done)
            start = max(0, done + fresh - length)
            yield _Window(number, list(tokens[start : done + fresh + 1]), fresh)
            done += fresh


def model_bits(
    model: Model, documents: Sequence[Sequence[int]], *, window: int, batch_size: int, tick: Callable[[int, int], None]
) -> Array:
    """Bits that the model spends on each document; shape [documents]. The first token is context, not scored."""
    passes = sorted(windows(documents, min(window, model.facts.window)), key=lambda one: -len(one.tokens))
    bits = np.zeros(len(documents))
    share = batch_size * max(1, len(passes) // (_TICKS * batch_size))  # whole batches of like length
    for start in range(0, len(passes), share):
        batch = passes[start : start + share]
        found = model.loglikelihoods([(one.tokens[: -one.scored], one.tokens[-one.scored :]) for one in batch], batch_size)
        for one, (value, _) in zip(batch, found, strict=True):
            bits[one.document] -= value / np.log(2.0)
        tick(start + len(batch), len(passes))
    return bits


def compress(
    model: Model,
    bigram: WittenBellBigram,
    texts: Sequence[str],
    *,
    window: int,
    batch_size: int,
    tick: Callable[[int, int], None] = lambda done, total: None,
) -> Compressed:
    """Score `texts` with the model and with the bigram, document by document.

    A document's first token is context for both and its bytes do not count: what may stand before it differs between models trained
    with and without document masking. A document of a single token is left out.
    """
    encoded = [(text, *model.tokenizer.encode_scored(text)) for text in texts]
    kept = [(text, ids, size) for text, ids, size in encoded if len(ids) > 1]
    documents = [ids for _, ids, _ in kept]
    return Compressed(
        documents=distinct(hashlib.sha256(text.encode()).hexdigest()[:16] for text, _, _ in kept),
        bits=[float(value) for value in model_bits(model, documents, window=window, batch_size=batch_size, tick=tick)],
        bytes=[size for _, _, size in kept],
        tokens=[len(ids) - 1 for ids in documents],
        bigram_bits=[float(bigram.bits(np.asarray(ids)).sum()) for ids in documents],
    )
