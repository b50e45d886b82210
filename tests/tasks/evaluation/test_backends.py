"""The training checkpoint itself gives the numbers of its converted twin; a diverged one gives none."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from contracts.errors import InputError
from tasks.evaluation import read_scores, require_comparable
from tasks.evaluation.config import EvaluationConfig
from tasks.evaluation.evaluate import evaluate
from tasks.evaluation.scores import Scores
from tests.tasks.evaluation.material import Line

CONFIG = EvaluationConfig.parse(
    {
        "bits_per_byte": {"heldout_bytes": 10_000},
        "tasks": ["grammar_pairs", "copying"],
        "items": 20,
        "samples": {"prompts": 1, "temperature": 0},
    }
)


@pytest.fixture(scope="module")
def twins(line: Line, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, dict[str, Path]]]:
    """Inputs of evaluate by backend, for one model."""
    from models import parallel
    from models.layout import Layout
    from tasks.conversion.config import ConversionConfig
    from tasks.conversion.convert import convert
    from tests.tasks.conversion.material import model_of
    from tests.tasks.conversion.write_checkpoint import write

    root = tmp_path_factory.mktemp("twins")
    write(root / "checkpoint", model_of(), Layout())
    state = root / "checkpoint" / "state.json"
    state.write_text(json.dumps(json.loads(state.read_text()) | {"total_tokens": {"prose": 300, "code": 100}}))
    shared = {"curate": line.curate, "tokenize": line.tokenize}
    unconverted = {"checkpoint": root / "checkpoint", "tokenizer": line.model / "model"}
    convert(ConversionConfig(), unconverted | shared, root, lambda done, total, note: None)
    yield {"megatron": unconverted | shared, "transformers": {"model": root} | shared}
    parallel.destroy()


def measure(inputs: dict[str, Path], backend: str, out: Path, *changes: str) -> Scores:
    out.mkdir()
    evaluate(CONFIG.override([f"backend={backend}", *changes]), inputs, out, lambda done, total, note: None)
    return read_scores(out)


@pytest.fixture(scope="module")
def measured(twins, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unconverted model's evaluation."""
    folder = tmp_path_factory.mktemp("measured") / "megatron"
    measure(twins["megatron"], "megatron", folder)
    return folder


def test_unconverted_model_gives_the_numbers_of_the_converted_one(twins, measured: Path, tmp_path: Path) -> None:
    own, converted = read_scores(measured), measure(twins["transformers"], "transformers", tmp_path / "transformers")
    require_comparable([own, converted])
    assert own.backend.startswith("megatron-core") and converted.backend.startswith("transformers")
    assert own.tokens_seen == 400 and converted.tokens_seen == 0 and own.tokenizer == converted.tokenizer
    for source, one in own.compressed.items():
        assert one.bits == pytest.approx(converted.compressed[source].bits, rel=1e-4)
        assert one.bigram_bits == converted.compressed[source].bigram_bits
    assert own.answered == converted.answered
    assert (measured / "samples.json").read_text() == (tmp_path / "transformers" / "samples.json").read_text()


def test_lower_precision_is_another_suite_and_close(twins, measured: Path, tmp_path: Path) -> None:
    assert CONFIG.dtype == "float32"
    exact, lower = read_scores(measured), measure(twins["megatron"], "megatron", tmp_path / "bfloat16", "dtype=bfloat16")
    assert exact.suite != lower.suite
    apart = abs(exact.values()["bits_per_byte"] - lower.values()["bits_per_byte"])
    assert 0 < apart < 0.02 * exact.values()["bits_per_byte"]


def test_diverged_training_is_recorded_and_not_measured(twins, measured: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(twins["megatron"]["checkpoint"], tmp_path / "checkpoint"))
    state = json.loads((folder / "state.json").read_text())
    (folder / "state.json").write_text(json.dumps(state | {"diverged_at": 17}))
    (tmp_path / "out").mkdir()
    summary = evaluate(
        CONFIG.override(["backend=megatron"]),
        twins["megatron"] | {"checkpoint": folder},
        tmp_path / "out",
        lambda done, total, note: None,
    )
    found = read_scores(tmp_path / "out")
    assert found.diverged_at == 17 and not found.compressed and not found.answered and not found.values()
    assert summary.metrics == {} and summary.evidence["diverged_at"] == 17
    require_comparable([found, read_scores(measured)])  # it stands in the table as missing


def test_checkpoint_without_a_readable_state_is_refused(twins, tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text("{")
    with pytest.raises(InputError, match="state of the training cannot be read"):
        evaluate(
            CONFIG.override(["backend=megatron"]),
            twins["megatron"] | {"checkpoint": tmp_path},
            tmp_path,
            lambda done, total, note: None,
        )
