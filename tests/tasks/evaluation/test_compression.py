from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from tasks.evaluation import compression, loading
from tasks.evaluation.bigram import WittenBellBigram
from tests.tasks.evaluation.material import VOCAB


@pytest.fixture(scope="module")
def loaded(line):
    return loading.load(line.model / "model", "float32")


def still(done: int, total: int) -> None:
    """No progress wanted."""


def test_windows_score_every_token_once_with_context_of_their_own_document() -> None:
    documents = [list(range(100)), list(range(500, 517)), [7, 8]]
    seen: list[tuple[int, int]] = []
    for window in compression.windows(documents, 16):
        assert len(window.tokens) <= 17
        targets = window.tokens[-window.scored :]
        seen += [(window.document, target) for target in targets]
        context = len(window.tokens) - window.scored
        assert context >= 4 or targets[0] == documents[window.document][1]
    assert sorted(seen) == [(n, token) for n, tokens in enumerate(documents) for token in tokens[1:]]


def test_model_without_preference_spends_log2_of_the_vocabulary(loaded) -> None:
    flat = replace(loaded, model=type(loaded.model)(loaded.model.config).eval())
    for parameter in flat.model.parameters():
        parameter.data.zero_()
    bits = compression.model_bits(flat, [[1, 2, 3, 4], [5, 6]], window=128, batch_size=4, tick=still)
    assert bits == pytest.approx([3 * math.log2(VOCAB), math.log2(VOCAB)])


def test_batch_and_padding_change_nothing(loaded) -> None:
    documents = [list(np.random.default_rng(n).integers(1, VOCAB, 40 + 37 * n)) for n in range(5)]
    one = compression.model_bits(loaded, documents, window=64, batch_size=1, tick=still)
    many = compression.model_bits(loaded, documents, window=64, batch_size=7, tick=still)
    assert many == pytest.approx(one, rel=1e-6)


def test_bytes_of_the_first_token_do_not_count(loaded) -> None:
    text = "größer als ein Byte je Zeichen, and then some more"
    bigram = WittenBellBigram.fit([np.arange(VOCAB)], VOCAB)
    row = compression.compare(loaded, bigram, [text, "a"], window=128, batch_size=2, confidence=0.95, resamples=100, seed=0)
    first = loaded.tokenizer(text, return_offsets_mapping=True)["offset_mapping"][0][1]
    assert row.bytes == len(text.encode()) - len(text[:first].encode())
    assert row.documents == 1 and row.low is None and row.high is None  # one document of two tokens or more: no spread to speak of
