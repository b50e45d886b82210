from __future__ import annotations

import random
from dataclasses import replace

import pytest

from contracts.errors import InputError
from tasks.evaluation import harness, loading, sampling
from tasks.evaluation.compression import model_bits
from tasks.evaluation.config import SamplingConfig
from tasks.evaluation.pairs import code_keyword_pairs, grammar_pairs
from tests.tasks.evaluation.material import corpus, train_tokenizer, write_model

HOW = harness.How(batch_size=8, seed=0, confidence=0.95)


@pytest.fixture(scope="module")
def loaded(line):
    return loading.load(line.model / "model", "float32")


def test_lm_eval_ranks_grammar_pairs_as_the_model_does(loaded, tmp_path) -> None:
    pairs = [pair for _, pair in zip(range(40), grammar_pairs(corpus()["prose"], random.Random(0)), strict=False)]
    result = harness.run_tasks(loaded, {"grammar_pairs": pairs}, {"grammar_pairs": 3}, tmp_path, HOW)["grammar_pairs"]
    right = 0
    for pair in pairs:
        encoded = [[loaded.end, *loaded.encode(choice)] for choice in pair.choices]
        bits = model_bits(loaded, encoded, window=128, batch_size=2, tick=lambda done, total: None)
        right += int(bits.argmin() == pair.label)
    assert result.value == pytest.approx(right / 40) and result.items == 40
    assert result.low < result.value < result.high and result.dropped == 3


def test_other_items_have_another_digest(loaded, tmp_path) -> None:
    pairs = [pair for _, pair in zip(range(4), code_keyword_pairs(corpus()["code"], random.Random(0)), strict=False)]
    flipped = [*pairs[:3], replace(pairs[3], label=1 - pairs[3].label)]
    dropped = {"code_keyword_pairs": 0}
    one, other = (
        harness.run_tasks(loaded, {"code_keyword_pairs": items}, dropped, tmp_path, HOW)["code_keyword_pairs"] for items in (pairs, flipped)
    )
    assert abs(one.value - other.value) == pytest.approx(0.25)
    assert one.prompt_hash != other.prompt_hash


def test_same_seed_writes_the_same_sample(loaded) -> None:
    texts = {"prose": corpus()["prose"][:3]}
    wanted = SamplingConfig(prompts=2, new_tokens=12)
    one, two, other = (sampling.generate(loaded, texts, wanted, seed) for seed in (1, 1, 2))
    assert one == two and one != other and len(one) == 2
    assert texts["prose"][0].startswith(one[0].prompt)


def test_tokenizer_without_end_of_document_is_refused(tmp_path) -> None:
    tokenizer = train_tokenizer(corpus()["prose"][:2])
    write_model(tmp_path, tokenizer)
    tokenizer.eos_token = None
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(InputError, match="ends a document"):
        loading.load(tmp_path, "float32")
