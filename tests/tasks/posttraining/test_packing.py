"""The packing planner against what TRL's packing really gives."""

from __future__ import annotations

import random

import pytest

from contracts.errors import ConfigError
from tasks.posttraining.config import Packing
from tasks.posttraining.packing import STRATEGIES, best_fit, plan


@pytest.mark.parametrize("packing", ["bfd", "ffd", "wrapped"])
def test_the_plan_counts_as_trl_packs(packing: Packing) -> None:
    from datasets import Dataset
    from trl import pack_dataset

    rng = random.Random(3)
    lengths = [rng.randint(3, 60) for _ in range(1300)]  # TRL packs a thousand at a time
    rows = Dataset.from_dict({"input_ids": [[1] * n for n in lengths], "labels": [[1] * n for n in lengths]})
    packed = pack_dataset(rows, 64, STRATEGIES[packing])
    planned = plan(lengths, packing, 64, batch=8)
    assert planned.sequences == len(packed)
    assert planned.tokens == sum(lengths) == sum(map(len, packed["input_ids"]))
    assert planned.steps_per_epoch == -(-len(packed) // 8)
    assert planned.unpacked_steps == -(-1300 // 8)
    assert planned.filled == pytest.approx(sum(lengths) / (64 * len(packed)))


def test_what_is_longer_than_a_sequence_is_cut() -> None:
    planned = plan([100, 10, 10], "bfd", 64, batch=1)
    assert (planned.tokens, planned.sequences) == (84, 2)
    assert best_fit([5, 5, 5], 10) == 2


def test_smollm3_packs_24_times_the_tokens_into_a_step() -> None:
    lengths = [1344] * 3000  # its mean: 172k tokens in 128 conversations
    packed, padded = plan(lengths, "bfd", 32_768, 128), plan(lengths, "none", 32_768, 128)
    assert padded.tokens_per_step == pytest.approx(172_000, rel=0.03)
    assert packed.tokens_per_step / packed.unpacked_tokens_per_step == pytest.approx(24, rel=0.05)


def test_large_packed_batches_and_few_steps_are_said() -> None:
    warned = plan([100] * 20_000, "bfd", 1000, batch=128).warnings
    assert len(warned) == 2 and "128 packed sequences per step: above 32" in warned[0] and "16 steps in all" in warned[1]
    assert plan([100] * 100_000, "bfd", 1000, batch=32).warnings == []
    assert plan([100] * 100, "none", 1000, batch=128).warnings == []
    assert any("wrapped packing cuts conversations" in said for said in plan([100] * 100_000, "wrapped", 1000, batch=8).warnings)


def test_nothing_is_packed_on_a_cpu() -> None:
    with pytest.raises(ConfigError, match="not trained on a CPU"):
        plan([10] * 10, "bfd", 64, batch=2, device="cpu")
