from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from tasks.evaluation import compression, transformers_model
from tasks.evaluation.bigram import WittenBellBigram
from tests.tasks.evaluation.material import VOCAB


@pytest.fixture(scope="module")
def loaded(line):
    return transformers_model.load(line.model / "model", "float32")


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
    flat = replace(loaded, logits=lambda ids: torch.zeros(*ids.shape, VOCAB))
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
    found = compression.compress(loaded, bigram, [text, "a", text], window=128, batch_size=2)
    first = loaded.tokenizer.decode(loaded.tokenizer.encode(text)[:1])
    assert found.bytes == [len(text.encode()) - len(first.encode())] * 2  # a document of one token is left out
    assert len(set(found.documents)) == 2 and found.bits[0] == pytest.approx(found.bits[1])
