from __future__ import annotations

import numpy as np
import pytest

from contracts.errors import InputError
from tasks.evaluation import shards
from tasks.evaluation.bigram import WittenBellBigram


def test_probabilities_are_those_of_the_formula() -> None:
    # after 0: 1 twice, 2 once; N = 3, T = 2. Unigram with half a count: (0: 3.5, 1: 2.5, 2: 1.5, 3: .5) / 8
    bigram = WittenBellBigram.fit([np.array([0, 1, 0, 1, 0, 2])], vocab_size=4)
    expected = [(2 + 2 * 2.5 / 8) / 5, (1 + 2 * 1.5 / 8) / 5, (0 + 2 * 0.5 / 8) / 5]
    found = [bigram.bits(np.array([0, after]))[0] for after in (1, 2, 3)]
    assert found == pytest.approx(-np.log2(expected))


def test_probabilities_after_every_token_sum_to_one() -> None:
    tokens = np.random.default_rng(0).integers(0, 30, 500)
    bigram = WittenBellBigram.fit([tokens, tokens[:100]], vocab_size=32)
    for before in (0, 7, 31):  # 31 was never seen: the unigram alone speaks
        total = sum(2.0 ** -bigram.bits(np.array([before, after]))[0] for after in range(32))
        assert total == pytest.approx(1.0)


def test_shard_written_by_megatron_is_read_back(line) -> None:
    described = shards.describe(line.tokenize)
    tokens = shards.stream(line.tokenize, "code", 10**9)
    assert tokens[-1] == described["eod"] and int(tokens.max()) < described["vocab_size"]
    assert len(shards.stream(line.tokenize, "code", 100)) == 100


def test_truncated_shard_is_refused(line, tmp_path) -> None:
    for name in ("code.bin", "code.idx"):
        (tmp_path / name).write_bytes((line.tokenize / name).read_bytes())
    (tmp_path / "code.bin").write_bytes((tmp_path / "code.bin").read_bytes()[:-2])
    with pytest.raises(InputError, match="cut short"):
        shards.stream(tmp_path, "code", 10)
