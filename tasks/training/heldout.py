"""The loss on held-out text while training goes on, by source and at any layout the same."""

from __future__ import annotations

import numpy as np

from tasks.training.batches import MicroBatch, heldout_windows, micro_batches, share_of
from tasks.training.config import Phase
from tasks.training.engine import Engine
from tasks.training.stream import Shards


class HeldOut:
    """This replica's part of a fixed set of held-out sequences of each source in the mixture."""

    def __init__(self, shards: Shards, phase: Phase, engine: Engine, eod: int | None) -> None:
        """Sources without a whole held-out sequence are left out.

        Raises:
            InputError: a held-out file is damaged.
        """
        self._engine = engine
        rank, replicas = engine.replica
        layout = phase.layout
        whole = layout.micro_batch_size * replicas * layout.pipeline_parallel_size  # what replicas and an interleaved pipeline can share
        self._batches: dict[str, list[MicroBatch]] = {}
        for source in phase.shares:
            windows = heldout_windows(shards, source, phase.sequence_length, phase.evaluation_sequences)
            if windows is None:
                continue
            missing = -len(windows) % whole
            weights = np.r_[np.ones(len(windows), np.float32), np.zeros(missing, np.float32)]
            filled = np.concatenate([windows, np.repeat(windows[:1], missing, axis=0)])
            mine = share_of(rank, replicas, len(filled))
            self._batches[source] = list(micro_batches(filled[mine], layout.micro_batch_size, eod, weights[mine]))

    def losses(self) -> dict[str, float]:
        """Mean loss of a token by source; a collective of all ranks."""
        return {source: self._engine.evaluate(batches) for source, batches in self._batches.items()}
