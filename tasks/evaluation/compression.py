"""Bits per byte of held-out documents under the model and under the bigram, document by document."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.evaluation.bigram import WittenBellBigram
from tasks.evaluation.intervals import bootstrap_ratio
from tasks.evaluation.loading import LoadedModel
from tasks.evaluation.results import BitsPerByte

Array = NDArray[np.float64]


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
    loaded: LoadedModel, documents: Sequence[Sequence[int]], *, window: int, batch_size: int, tick: Callable[[int, int], None]
) -> Array:
    """Bits that the model spends on each document; shape [documents]. The first token is context, not scored."""
    import torch
    from torch.nn.functional import cross_entropy

    passes = sorted(windows(documents, min(window, loaded.window)), key=lambda w: len(w.tokens))
    bits = np.zeros(len(documents))
    with torch.inference_mode():
        for start in range(0, len(passes), batch_size):
            batch = passes[start : start + batch_size]
            width = max(len(w.tokens) for w in batch)
            ids = torch.full((len(batch), width), loaded.end)
            for row, w in enumerate(batch):
                ids[row, : len(w.tokens)] = torch.tensor(w.tokens)  # padding stands right of every scored token: causal, never seen
            ids = ids.to(loaded.device)
            logits = loaded.model(ids[:, :-1], use_cache=False).logits.float()
            flat = cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")  # three times faster than [b, vocab, s]
            losses = flat.view(len(batch), -1).double().cpu()
            for row, w in enumerate(batch):
                last = len(w.tokens) - 1
                bits[w.document] += float(losses[row, last - w.scored : last].sum()) / np.log(2.0)
            tick(start + len(batch), len(passes))
    return bits


def compare(
    loaded: LoadedModel,
    bigram: WittenBellBigram,
    texts: Sequence[str],
    *,
    window: int,
    batch_size: int,
    confidence: float,
    resamples: int,
    seed: int,
    tick: Callable[[int, int], None] = lambda done, total: None,
) -> BitsPerByte:
    """Score `texts` with both models.

    A document's first token is context for both and its bytes do not count: what may stand before it differs between models trained
    with and without document masking.
    """
    documents, size = _encoded(loaded, texts)
    ours = model_bits(loaded, documents, window=window, batch_size=batch_size, tick=tick)
    theirs = np.array([bigram.bits(np.asarray(tokens)).sum() for tokens in documents])

    def interval(values: Array) -> tuple[float | None, float | None]:
        return bootstrap_ratio(values, size, confidence=confidence, resamples=resamples, seed=seed) or (None, None)

    low, high = interval(ours)
    difference_low, difference_high = interval(ours - theirs)
    total = float(size.sum())
    return BitsPerByte(
        model=float(ours.sum()) / total,
        low=low,
        high=high,
        bigram=float(theirs.sum()) / total,
        difference=float((ours - theirs).sum()) / total,
        difference_low=difference_low,
        difference_high=difference_high,
        documents=len(documents),
        bytes=int(total),
        tokens=sum(len(tokens) - 1 for tokens in documents),
    )


def _encoded(loaded: LoadedModel, texts: Sequence[str]) -> tuple[list[list[int]], Array]:
    """Token ids of every document of two tokens or more, and the UTF-8 bytes of its tokens but the first."""
    documents: list[list[int]] = []
    sizes: list[int] = []
    for text in texts:
        encoded = loaded.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        if len(encoded["input_ids"]) > 1:
            documents.append(list(encoded["input_ids"]))
            sizes.append(len(text[encoded["offset_mapping"][0][1] :].encode()))
    return documents, np.array(sizes, np.float64)
