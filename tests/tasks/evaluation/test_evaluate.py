from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from contracts.config import identity
from contracts.errors import InputError
from tasks.evaluation.config import EvaluationConfig
from tasks.evaluation.evaluate import evaluate
from tasks.evaluation.results import Evaluation, Sample
from tests.tasks.evaluation.material import Line, corpus, write_curated

CONFIG = EvaluationConfig.parse(
    {"bits_per_byte": {"heldout_bytes": 30_000}, "pairs": {"items": 40}, "samples": {"prompts": 1, "new_tokens": 8}}
)


def run(line: Line, out: Path, config: EvaluationConfig = CONFIG) -> tuple[Evaluation, list[str]]:
    notes: list[str] = []
    evaluate(config, line.inputs, out, lambda done, total, note: notes.append(note))
    return Evaluation.parse(json.loads((out / "evaluation.json").read_text())), notes


def test_untrained_model_loses_to_the_bigram_and_knows_nothing(line: Line, tmp_path: Path) -> None:
    found, notes = run(line, tmp_path)
    assert set(found.bits_per_byte) == {"prose", "code"}
    for source, row in found.bits_per_byte.items():
        assert row.bigram < row.model and row.difference_low > 0, source
        assert row.low < row.model < row.high and row.documents > 1 and row.bytes >= 25_000
        assert row.model == pytest.approx(math.log2(512) * row.tokens / row.bytes, rel=0.02)  # what knowing nothing costs
    assert set(found.tasks) == {"grammar_pairs", "code_keyword_pairs"}
    for task in found.tasks.values():
        assert task.items == 40 and task.low < 0.5 < task.high
    samples = [Sample.parse(sample) for sample in json.loads((tmp_path / "samples.json").read_text())]
    assert {sample.source for sample in samples} == {"prose", "code"}
    assert {"precision", "backend", "batch_size", "few_shot", "harness", "seed", "window"} <= set(found.settings)
    assert notes[0] == "loading the model" and "bits/byte" in notes[-1]


def test_numbers_reach_the_summary(line: Line, tmp_path: Path) -> None:
    summary = evaluate(CONFIG, line.inputs, tmp_path, lambda done, total, note: None)
    assert summary.metrics["wins_vs_bigram/prose"] == 0.0
    found = summary.evidence["evaluation"]
    assert summary.metrics["bits_per_byte/code"] == found["bits_per_byte"]["code"]["model"]
    assert summary.metrics["accuracy/grammar_pairs"] == found["tasks"]["grammar_pairs"]["value"]
    assert summary.counts["items/grammar_pairs"] == 40
    assert json.dumps(found, allow_nan=False)


def test_same_config_gives_the_same_numbers_at_any_batch_size(line: Line, tmp_path: Path) -> None:
    results = []
    for size in (4, 32):
        (tmp_path / str(size)).mkdir()
        found, _ = run(line, tmp_path / str(size), CONFIG.override([f"batch_size={size}"]))
        results.append(found)
    for source, row in results[0].bits_per_byte.items():
        assert row.model == pytest.approx(results[1].bits_per_byte[source].model, rel=1e-6)
    assert [t.prompt_hash for t in results[0].tasks.values()] == [t.prompt_hash for t in results[1].tasks.values()]
    assert identity(CONFIG) == identity(CONFIG.override(["batch_size=3"]))


def test_source_without_held_out_text_is_refused(line: Line, tmp_path: Path) -> None:
    write_curated(tmp_path / "curate", "train", corpus())
    write_curated(tmp_path / "curate", "heldout", {"prose": ["  "]})
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="no held-out text"):
        evaluate(CONFIG, line.inputs | {"curate": tmp_path / "curate"}, tmp_path / "out", lambda done, total, note: None)
    assert list((tmp_path / "out").iterdir()) == []
