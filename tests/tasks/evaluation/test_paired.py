from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from contracts.errors import InputError
from tasks.evaluation import average_accuracy, derive, difference, read_scores, require_comparable
from tasks.evaluation.scores import Answered, Compressed, Scores, distinct

SUITE = "offline@1:aaaa"
HOW = {"confidence": 0.95, "resamples": 1000}


def scores(shift: float = 0.0, suite: str = SUITE, right: int = 60, **more: object) -> Scores:
    """200 documents of very different difficulty; `shift` bits per byte on each of them."""
    rng = np.random.default_rng(0)
    size = rng.integers(200, 2000, 200)
    bits = size * (rng.normal(2.0, 0.5, 200) + shift + np.random.default_rng(int(abs(shift) * 1e6)).normal(0, 0.02, 200))
    compressed = Compressed(
        documents=[str(n) for n in range(200)],
        bits=list(bits),
        bytes=[int(n) for n in size],
        tokens=[10] * 200,
        bigram_bits=list(bits + size),
    )
    answered = Answered(items=[str(n) for n in range(100)], right=[1.0] * right + [0.0] * (100 - right), chance=0.5, metric="acc")
    return Scores(
        suite=suite, tokenizer="t", backend="transformers", compressed={"prose": compressed, "code": compressed},
        answered={"pairs": answered}, **more,
    )  # fmt: skip


def test_pairing_sees_what_the_spread_of_documents_would_hide() -> None:
    apart = difference(scores(), scores(0.05), "bits_per_byte/prose", **HOW)
    row = derive(scores(), **HOW).bits_per_byte["prose"]
    assert apart.low < apart.value < apart.high < 0 and apart.value == pytest.approx(-0.05, abs=0.01) and apart.items == 200
    assert (apart.high - apart.low) < (row.high - row.low) / 5
    mean = difference(scores(), scores(0.05), "bits_per_byte", **HOW)
    assert mean.value == pytest.approx(apart.value) and mean.items == 400


def test_equal_models_are_not_told_apart() -> None:
    apart = difference(scores(), scores(), "accuracy/pairs", **HOW)
    assert (apart.value, apart.low, apart.high) == (0.0, 0.0, 0.0)


def test_another_suite_is_refused_with_both_names() -> None:
    with pytest.raises(InputError, match=r"offline@1:aaaa, the other with offline@2:bbbb"):
        difference(scores(), scores(suite="offline@2:bbbb"), "bits_per_byte", **HOW)
    require_comparable([scores(), Scores(suite="offline@1", tokenizer="", backend="", diverged_at=3)])


def test_what_was_not_measured_is_refused() -> None:
    with pytest.raises(InputError, match="has no 'accuracy/nothing'"):
        difference(scores(), scores(), "accuracy/nothing", **HOW)
    with pytest.raises(InputError, match=r"diverged \(step 3\) has no bits_per_byte"):
        difference(scores(), Scores(suite="offline@1", tokenizer="", backend="", diverged_at=3), "bits_per_byte", **HOW)


def test_missing_task_blocks_the_average() -> None:
    whole = scores()
    assert average_accuracy(whole).value == pytest.approx(0.6)
    found = average_accuracy(whole.model_copy(update={"left_out": {"copying": "too long"}}))
    assert found.value is None and found.missing == ["copying"]


def test_accuracy_has_wilsons_interval_and_an_average_of_samples_a_bootstrap() -> None:
    row = derive(scores(), **HOW).tasks["pairs"]
    assert (row.low, row.high) == pytest.approx((0.5020, 0.6906), abs=1e-4)  # Wilson, 60 of 100
    averaged = Answered(items=[str(n) for n in range(50)], right=[0.25, 0.75] * 25, samples=4, generative=True)
    row = derive(scores().model_copy(update={"answered": {"written": averaged}}), **HOW).tasks["written"]
    assert row.value == 0.5 and row.samples == 4 and 0.40 < row.low < 0.5 < row.high < 0.60


def test_equal_documents_stay_countable() -> None:
    assert distinct(["a", "b", "a", "a"]) == ["a", "b", "a#2", "a#3"]


def test_evaluation_of_an_older_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "evaluation.json").write_text(json.dumps({"bits_per_byte": {}}))
    with pytest.raises(InputError, match="no evaluation can be read"):
        read_scores(tmp_path)
