"""Which sequence comes when: a function of seed, source and epoch, never of a phase's length.

Nothing is stored per sequence. A window's place in its epoch is computed when it is asked for, so any position is reached at once and the
memory does not grow with the number of steps (an index built for all samples of a run cost SmolLM3 its throughput, and sequences read in
document order gave it a noisy loss: Smol Training Playbook, the training marathon, mysteries 2 and 3).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_ROUNDS = 6
Integers = NDArray[np.int64]


def permute(positions: Integers, size: int, key: int) -> Integers:
    """Images of `positions` (each in [0, size)) under a pseudo-random permutation of range(size) that `key` selects.

    A Feistel network over the smallest even number of bits that holds `size`, walked along its cycle until the value is below `size`
    (Black and Rogaway, "Ciphers with arbitrary finite domains", 2002). Constant time and memory per element.
    """
    if size <= 1:
        return np.zeros_like(positions)
    half = np.uint64(max(1, -(-(size - 1).bit_length() // 2)))
    mask = np.uint64((1 << int(half)) - 1)
    keys = _mix(np.arange(1, _ROUNDS + 1, dtype=np.uint64) + np.uint64(key))
    values = _encrypt(positions.astype(np.uint64), half, mask, keys)
    while (outside := values >= size).any():
        values[outside] = _encrypt(values[outside], half, mask, keys)
    return values.astype(np.int64)


def _encrypt(values: NDArray[np.uint64], half: np.uint64, mask: np.uint64, keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    left, right = values >> half, values & mask
    for key in keys:
        left, right = right, left ^ (_mix(right + key) & mask)
    return (left << half) | right


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele et al., 2014); arithmetic modulo 2^64."""
    z = values + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@dataclass(frozen=True)
class Place:
    """Where reading of a source stands: `window` windows of pass `epoch` are behind, of a stream of `tokens` cut at `sequence_length`."""

    epoch: int = 0
    window: int = 0
    tokens: int = 0
    sequence_length: int = 0


class SourceOrder:
    """The endless order of one source's windows: pass after pass, each a permutation of its own."""

    def __init__(self, source: str, tokens: int, sequence_length: int, seed: int, start: Place | None = None) -> None:
        """`tokens` is the length of the source's stream; it must hold one window of sequence_length + 1 tokens."""
        self.source, self.tokens, self.sequence_length, self.seed = source, tokens, sequence_length, seed
        self.windows = (tokens - 1) // sequence_length
        self._first = self._carried(start) if start else 0

    def _carried(self, start: Place) -> int:
        """Absolute position at which a phase goes on from another's place.

        At the same length exactly where it stopped. At another one from the same share of the pass, rounded up: the cuts differ, so
        within that one pass some tokens may come again. A stream of another size is other text, read from its beginning.
        """
        if start.tokens != self.tokens:
            return 0
        behind = start.window
        if start.sequence_length != self.sequence_length:
            behind = min(self.windows, -(-start.window * start.sequence_length // self.sequence_length))
        return start.epoch * self.windows + behind

    def window(self, count: Integers) -> Integers:
        """Index of the window that is read after `count` others in this phase; window i covers tokens i x S to (i + 1) x S, inclusive."""
        position = self._first + count
        epochs = position // self.windows
        chosen = np.empty_like(position)
        for epoch in np.unique(epochs):
            here = epochs == epoch
            chosen[here] = permute(position[here] % self.windows, self.windows, self._key(int(epoch)))
        return chosen

    def place(self, count: int) -> Place:
        """Where reading stands once `count` windows were read in this phase."""
        epoch, window = divmod(self._first + count, self.windows)
        return Place(epoch, window, self.tokens, self.sequence_length)

    def _key(self, epoch: int) -> int:
        return int.from_bytes(hashlib.sha256(f"{self.seed}/{self.source}/{epoch}".encode()).digest()[:8], "little") >> 1


class Blend:
    """Which source each sequence of a phase is taken from: deterministic, every prefix within one sequence of the asked shares.

    Tijdeman's rule for the chairman assignment problem (Discrete Mathematics 32, 1980): of the sources that may be due, the one whose
    deadline comes first. It keeps |count - share x n| at or below 1 - 1 / (2k - 2) for k sources; the more obvious rule, the largest
    deficit first, leaves that bound from a handful of sources on.
    """

    def __init__(self, shares: Mapping[str, float], counts: Mapping[str, int] | None = None) -> None:
        """`shares` are positive and sum to 1; `counts` says how many sequences of each source are behind."""
        self.sources = list(shares)
        self._shares = np.array([shares[s] for s in self.sources], dtype=np.float64)
        self._slack = 1.0 / (2 * len(self.sources) - 2) if len(self.sources) > 1 else 0.0
        self._counts = np.array([(counts or {}).get(s, 0) for s in self.sources], dtype=np.int64)

    @property
    def counts(self) -> dict[str, int]:
        """Sequences taken from each source so far."""
        return {source: int(count) for source, count in zip(self.sources, self._counts, strict=True)}

    def take(self, number: int) -> tuple[Integers, Integers]:
        """(index of the source, how many of that source came before) of each of the next `number` sequences."""
        chosen, before = np.empty(number, np.int64), np.empty(number, np.int64)
        if len(self.sources) == 1:
            chosen[:] = 0
            before[:] = np.arange(self._counts[0], self._counts[0] + number)
            self._counts[0] += number
            return chosen, before
        done = int(self._counts.sum())
        for i in range(number):
            deficit = self._shares * (done + i + 1) - self._counts
            due = np.where(deficit >= self._slack, (1.0 - self._slack - deficit) / self._shares, np.inf)
            source = int(due.argmin())
            if due[source] == np.inf:  # rounding left nobody due
                source = int(deficit.argmax())
            chosen[i], before[i] = source, self._counts[source]
            self._counts[source] += 1
        return chosen, before
