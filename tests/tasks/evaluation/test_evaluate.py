from __future__ import annotations

import json
import math
from importlib.util import find_spec
from pathlib import Path

import pytest

from contracts.config import identity
from contracts.errors import ConfigError, InputError, ResourceError
from tasks.evaluation import average_accuracy, derive, read_scores
from tasks.evaluation.config import EvaluationConfig
from tasks.evaluation.evaluate import evaluate
from tasks.evaluation.results import Sample
from tasks.evaluation.scores import Scores
from tests.tasks.evaluation.material import Line, corpus, write_curated

PAIRS = ["grammar_pairs", "code_keyword_pairs"]
CONFIG = EvaluationConfig.parse(
    {"bits_per_byte": {"heldout_bytes": 30_000}, "tasks": PAIRS, "items": 40, "samples": {"prompts": 1, "new_tokens": 8}}
)


def run(line: Line, out: Path, config: EvaluationConfig = CONFIG) -> tuple[Scores, list[str]]:
    notes: list[str] = []
    out.mkdir(exist_ok=True)
    evaluate(config, line.inputs, out, lambda done, total, note: notes.append(note))
    return read_scores(out), notes


def test_untrained_model_loses_to_the_bigram_and_knows_nothing(line: Line, tmp_path: Path) -> None:
    scores, notes = run(line, tmp_path)
    found = derive(scores, confidence=0.95, resamples=500)
    assert set(found.bits_per_byte) == {"prose", "code"}
    for source, row in found.bits_per_byte.items():
        assert row.bigram < row.model and row.difference_low > 0, source
        assert row.low < row.model < row.high and row.documents > 1 and row.bytes >= 25_000
        assert row.model == pytest.approx(math.log2(512) * row.tokens / row.bytes, rel=0.02)  # what knowing nothing costs
    assert set(found.tasks) == set(PAIRS)
    for task in found.tasks.values():
        assert task.items == 40 and task.low < 0.5 < task.high and task.chance == 0.5
    samples = [Sample.parse(sample) for sample in json.loads((tmp_path / "samples.json").read_text())]
    assert {sample.source for sample in samples} == {"prose", "code"}
    assert {"precision", "batch_size", "device", "harness", "seed", "window", "confidence"} <= set(scores.settings)
    assert "loading the model" in notes and "bits/byte" in notes[-1]


def test_every_result_says_how_it_was_measured(line: Line, tmp_path: Path) -> None:
    scores, _ = run(line, tmp_path)
    assert scores.backend.startswith("transformers ") and scores.suite.startswith("offline@1:") and scores.tokenizer
    for task in scores.answered.values():
        assert task.formulation == "cloze" and task.metric == "acc" and task.few_shot == [] and task.prompts
        assert len(set(task.items)) == len(task.right) == 40 and set(task.right) <= {0.0, 1.0}
    assert scores.settings["recommended_formulation"] == "cloze" and scores.settings["recommended_because"]


def test_numbers_reach_the_summary(line: Line, tmp_path: Path) -> None:
    summary = evaluate(CONFIG, line.inputs, tmp_path, lambda done, total, note: None)
    scores = read_scores(tmp_path)
    assert summary.metrics["wins_vs_bigram/prose"] == 0.0
    assert scores.values().items() <= summary.metrics.items()
    assert summary.metrics["bits_per_byte"] == pytest.approx(
        (summary.metrics["bits_per_byte/code"] + summary.metrics["bits_per_byte/prose"]) / 2
    )
    assert summary.counts["items/grammar_pairs"] == 40 and summary.evidence["suite"] == scores.suite


def test_same_config_gives_the_same_numbers_and_suite_at_any_batch_size(line: Line, tmp_path: Path) -> None:
    four, many = (run(line, tmp_path / str(size), CONFIG.override([f"batch_size={size}"]))[0] for size in (4, 32))
    for source, one in four.compressed.items():
        assert one.bits == pytest.approx(many.compressed[source].bits, rel=1e-5)
    assert four.suite == many.suite and four.answered.keys() == many.answered.keys()
    assert identity(CONFIG) == identity(CONFIG.override(["batch_size=3"]))


@pytest.mark.parametrize(
    "change", ["seed=1", "items=30", "bits_per_byte.window=64", "formulation=multiple_choice", "tasks=[grammar_pairs]"]
)
def test_what_must_be_equal_for_a_comparison_changes_the_suite(line: Line, tmp_path: Path, change: str) -> None:
    one, other = run(line, tmp_path / "one")[0], run(line, tmp_path / "other", CONFIG.override([change]))[0]
    assert one.suite != other.suite


def test_the_whole_offline_suite_runs_and_a_missing_task_blocks_the_average(line: Line, tmp_path: Path) -> None:
    scores, _ = run(line, tmp_path, CONFIG.override(["tasks=[]", "items=12"]))
    assert {"copying", "induction", "bracket_matching", "arithmetic_with_carry", "recall_32", *PAIRS} <= set(scores.answered)
    assert scores.answered["copying"].chance == 0.25 and scores.answered["copying"].metric == "acc_norm"
    average = average_accuracy(scores)
    assert average.value is None and average.missing == ["recall_128", "recall_192"]  # longer than this model's window
    del scores.left_out["recall_128"], scores.left_out["recall_192"]
    assert average_accuracy(scores).value == pytest.approx(sum(sum(t.right) for t in scores.answered.values()) / 12 / len(scores.answered))


def test_suite_without_questions_measures_bits_per_byte_alone(line: Line, tmp_path: Path) -> None:
    scores, notes = run(line, tmp_path, CONFIG.override(["suite=bits_per_byte", "tasks=[]"]))
    assert set(scores.values()) == {"bits_per_byte", "bits_per_byte/code", "bits_per_byte/prose"}
    assert not any("lm-eval" in note for note in notes)


def test_source_without_held_out_text_is_refused(line: Line, tmp_path: Path) -> None:
    write_curated(tmp_path / "curate", "train", corpus())
    write_curated(tmp_path / "curate", "heldout", {"prose": ["  "]})
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="no held-out text"):
        evaluate(CONFIG, line.inputs | {"curate": tmp_path / "curate"}, tmp_path / "out", lambda done, total, note: None)
    assert list((tmp_path / "out").iterdir()) == []


def test_suite_whose_data_cannot_be_reached_is_refused_before_anything_runs(line: Line, tmp_path: Path) -> None:
    notes: list[str] = []
    config = CONFIG.override(["suite=ablation", "tasks=[humaneval]"])
    with pytest.raises(ConfigError, match="humaneval would run here what the model writes"):
        evaluate(config, line.inputs, tmp_path, lambda done, total, note: notes.append(note))
    assert "loading the model" not in notes and list(tmp_path.iterdir()) == []


def test_backend_that_is_not_installed_is_refused_before_anything_runs(line: Line, tmp_path: Path) -> None:
    if find_spec("vllm") is not None:
        pytest.skip("vllm is installed here")
    with pytest.raises(ResourceError, match="vllm, which is not installed"):
        evaluate(CONFIG.override(["backend=vllm"]), line.inputs, tmp_path, lambda done, total, note: None)
    assert list(tmp_path.iterdir()) == []


def test_backend_without_its_input_is_refused(line: Line, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="reads the input 'checkpoint'"):
        evaluate(CONFIG.override(["backend=megatron"]), line.inputs, tmp_path, lambda done, total, note: None)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"suite": "ofline"}, "did you mean 'offline'"),
        ({"suite_version": 2}, "stands at version 1, not 2"),
        ({"tasks": ["gramar_pairs"]}, "did you mean 'grammar_pairs'"),
        ({"suite": "ablation", "tasks": ["piqa"], "formulation": "multiple_choice"}, "cannot be put as multiple_choice"),
    ],
)
def test_config_that_no_suite_fits_is_refused(given: dict, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        EvaluationConfig.parse(given)
