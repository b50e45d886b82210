"""What each replica reads, and how documents are kept apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from contracts.errors import ConfigError, InputError
from tasks.training.batches import TrainingData, heldout_windows, micro_batches, share_of
from tasks.training.stream import Shards
from tests.tasks.training.material import phase, write_shards

ALL = slice(None)


@pytest.fixture
def shards(tmp_path: Path) -> Shards:
    return Shards.open(write_shards(tmp_path, {"a": 30, "b": 20, "c": 10}))


def data(shards: Shards, counts: dict[str, int] | None = None) -> TrainingData:
    return TrainingData(shards, phase(), 7, {}, counts)


@pytest.mark.parametrize("replicas", [1, 2, 4])
def test_a_global_batch_is_the_same_at_any_replica_count(shards: Shards, replicas: int) -> None:
    expected = [data(shards).next(8, ALL)]
    pieces = [data(shards).next(8, share_of(rank, replicas, 8)) for rank in range(replicas)]
    assert (np.concatenate(pieces) == expected[0]).all()


def test_a_batch_that_cannot_be_shared_is_refused() -> None:
    with pytest.raises(ConfigError, match="cannot be shared"):
        share_of(0, 3, 8)


def test_reading_goes_on_from_counts(shards: Shards) -> None:
    whole = data(shards)
    expected = [whole.next(8, ALL) for _ in range(40)]  # several passes over the source
    first = data(shards)
    for _ in range(17):
        first.next(8, ALL)
    second = data(shards, first.counts)
    assert all((second.next(8, ALL) == batch).all() for batch in expected[17:])
    assert second.places() == whole.places()
    assert whole.places()["a"].epoch >= 1


def test_ranks_that_read_other_shares_stay_together(shards: Shards) -> None:
    one, other = data(shards), data(shards)
    for _ in range(5):
        one.next(8, share_of(0, 2, 8))
        other.next(8, share_of(1, 2, 8))
    assert one.counts == other.counts and one.places() == other.places()


def test_an_unknown_source_is_named(shards: Shards) -> None:
    with pytest.raises(InputError, match="asks for 'd', and the shards hold a, b, c"):
        TrainingData(shards, phase(mixture={"d": 1.0}), 7, {})


def test_documents_begin_with_each_sequence_and_after_each_end() -> None:
    windows = np.array([[5, 0, 6, 7, 8], [1, 2, 3, 0, 9]])
    (batch,) = micro_batches(windows, 2, eod=0)
    assert batch.tokens.tolist() == [[5, 0, 6, 7], [1, 2, 3, 0]]
    assert batch.labels.tolist() == [[0, 6, 7, 8], [2, 3, 0, 9]]
    assert batch.cu_seqlens is not None
    assert batch.cu_seqlens.tolist() == [0, 2, 4, 8]
    assert batch.cu_seqlens.dtype == torch.int32


def test_without_masking_there_are_no_documents() -> None:
    batches = list(micro_batches(np.zeros((5, 4), np.int64), 2, eod=None, weights=[1, 1, 1, 0, 0]))
    assert [len(b.tokens) for b in batches] == [2, 2, 1]
    assert all(b.cu_seqlens is None for b in batches)
    assert [float(b.weights.sum()) for b in batches] == [6.0, 3.0, 0.0]


def test_heldout_windows_are_spread_evenly(shards: Shards) -> None:
    found = heldout_windows(shards, "a", 16, 4)
    assert found is not None and found.shape == (4, 17)
    stream = shards.heldout("a")
    assert (found[-1] == stream.windows([stream.count(16) - 1], 16)[0]).all()
    everything = heldout_windows(shards, "a", 16, 10_000)
    assert everything is not None and len(everything) == stream.count(16)
    assert heldout_windows(shards, "a", 100_000, 4) is None
