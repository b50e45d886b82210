"""The yardstick: a token bigram with Witten-Bell smoothing over the training shards.

A model that does not beat it has learned nothing that counting pairs of tokens would not have given.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix, csr_matrix

Tokens = NDArray[np.integer]


class WittenBellBigram:
    """p(w | h) = (C(h, w) + T(h) p(w)) / (N(h) + T(h)), T(h) being the number of different tokens seen after h.

    Source: Witten and Bell 1991, method C; the unigram below it has half a count added to every token.
    """

    def __init__(self, pairs: csr_matrix, unigram: NDArray[np.float64]) -> None:
        self._pairs, self._unigram = pairs, unigram
        self._total = np.asarray(pairs.sum(axis=1), np.float64).ravel()
        self._types = np.diff(pairs.indptr).astype(np.float64)

    @classmethod
    def fit(cls, streams: Iterable[Tokens], vocab_size: int) -> Self:
        """Count every stream of token ids (documents end with their end-of-document token, so starts are counted too)."""
        pairs: csr_matrix = csr_matrix((vocab_size, vocab_size), dtype=np.float64)
        unigram = np.full(vocab_size, 0.5)
        for stream in streams:
            tokens = np.asarray(stream, np.int64)
            unigram += np.bincount(tokens, minlength=vocab_size)
            ones = np.ones(max(len(tokens) - 1, 0))
            pairs = pairs + coo_matrix((ones, (tokens[:-1], tokens[1:])), shape=(vocab_size, vocab_size)).tocsr()
        return cls(pairs, unigram / unigram.sum())

    def bits(self, tokens: Tokens) -> NDArray[np.float64]:
        """-log2 p(tokens[i + 1] | tokens[i]) for every i; shape [len(tokens) - 1]."""
        before, after = np.asarray(tokens[:-1], np.int64), np.asarray(tokens[1:], np.int64)
        count = np.asarray(self._pairs[before, after], np.float64).ravel()
        total, types, backoff = self._total[before], self._types[before], self._unigram[after]
        seen = total + types > 0
        smoothed = (count + types * backoff) / np.where(seen, total + types, 1.0)
        return np.asarray(-np.log2(np.where(seen, smoothed, backoff)))
