"""The trainer on one GPU: bfloat16 and FP8 with Transformer Engine, checkpoints, and the loss of the same model on a CPU's terms."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.layout import Layout
from models.precision import Precision
from tests.tasks.training.material import MODEL as SMALL
from tests.tasks.training.material import Bench, curve, documents, phase, write_shards

pytestmark = pytest.mark.gpu

WIDE: dict[str, Any] = {"hidden_size": 256, "ffn_hidden_size": 512, "init_std": 0.0625, "max_sequence_length": 128}
MODEL = SMALL.model_copy(update=WIDE)
LENGTH, BATCH, STEPS = 128, 8, 12
FP8 = {
    "delayed": Precision(dtype="bfloat16", fp8="hybrid", fp8_recipe="delayed"),
    "tensorwise": Precision(dtype="bfloat16", fp8="hybrid"),
    "blockwise": Precision(dtype="bfloat16", fp8="e4m3", fp8_recipe="blockwise"),
}


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    from models import parallel

    parallel.destroy()
    yield
    parallel.destroy()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    made = Bench(tmp_path)
    shards = tmp_path / "shards"
    shards.mkdir()
    made.commit("tokenize", "shards", write_shards(shards, {"a": 400, "b": 300}))
    return made


def losses(precision: Precision, layout: Layout | None = None, optimizer: str = "adamw") -> list[float]:
    """Losses of a dozen steps from one set of initial weights."""
    from models import parallel
    from tasks.training.batches import micro_batches
    from tasks.training.config import OptimizerConfig
    from tasks.training.engine import Engine

    layout = layout or Layout(micro_batch_size=4)
    parallel.destroy(keep_processes=True)
    parallel.initialise(layout, seed=1)
    engine = Engine(MODEL, layout, precision, OptimizerConfig(kind=optimizer), LENGTH, seed=5)  # type: ignore[arg-type]
    stream = np.concatenate(documents(600, seed=3))
    found = []
    for step in range(STEPS):
        starts = (step * BATCH + np.arange(BATCH)) * LENGTH
        windows = stream[starts[:, None] + np.arange(LENGTH + 1)]
        found.append(engine.step(list(micro_batches(windows, layout.micro_batch_size, 0)), 1e-3).loss)
    return found


def test_bfloat16_follows_float32() -> None:
    full, half = losses(Precision()), losses(Precision(dtype="bfloat16"))
    assert full[-1] < full[0] - 0.3
    assert half == pytest.approx(full, abs=0.03)


@pytest.mark.parametrize("recipe", FP8)
def test_fp8_follows_bfloat16(recipe: str) -> None:
    half, eighth = losses(Precision(dtype="bfloat16")), losses(FP8[recipe])
    assert eighth[-1] < eighth[0] - 0.3
    assert eighth == pytest.approx(half, abs=0.15)


def test_fused_gradient_accumulation_changes_nothing() -> None:
    plain = losses(Precision(dtype="bfloat16"))
    fused = losses(Precision(dtype="bfloat16"), Layout(micro_batch_size=4, gradient_accumulation_fusion=True))
    assert fused == pytest.approx(plain, abs=0.02)


def test_micro_batches_and_recomputation_change_nothing() -> None:
    plain = losses(Precision())
    assert losses(Precision(), Layout(micro_batch_size=2, recompute="full")) == pytest.approx(plain, abs=1e-3)


def test_muon_learns() -> None:
    found = losses(Precision(), optimizer="muon")
    assert found[-1] < found[0] - 0.3


@pytest.mark.parametrize("precision", [{"dtype": "bfloat16"}, {"dtype": "bfloat16", "fp8": "hybrid"}])
def test_a_phase_trains_saves_and_goes_on(bench: Bench, monkeypatch: pytest.MonkeyPatch, precision: dict[str, Any]) -> None:
    one: dict[str, Any] = {
        "precision": precision,
        "sequence_length": 128,
        "layout": {"micro_batch_size": 4},
        "schedule": {"learning_rate": 1e-3},
    }
    whole, short, longer = (
        bench.spec(phase(**one, tokens=steps * 8 * 128), key=key, **WIDE) for key, steps in (("whole", 12), ("grown", 8), ("grown", 12))
    )
    for spec, folder in ((whole, "whole"), (short, "one"), (longer, "two")):
        result = bench.here(spec, monkeypatch, folder)
        assert result["exit"] == 0, result["reason"]
        assert result["summary"]["layouts"][-1]["device"] == torch.cuda.get_device_name()
    grown, expected = (curve(bench.part(spec, "step-00000012")) for spec in (longer, whole))
    assert [grown[s]["loss"] for s in range(1, 13)] == pytest.approx([expected[s]["loss"] for s in range(1, 13)], abs=5e-3)


def test_a_trained_model_is_loaded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    from tasks.training import load_model

    spec = bench.spec(phase(sequence_length=128, layout={"micro_batch_size": 4}, precision={"dtype": "bfloat16"}), **WIDE)
    bench.here(spec, monkeypatch)
    trained = load_model(bench.part(spec, "step-00000003"))
    tokens = torch.arange(64, device="cuda")[None]
    with torch.inference_mode():
        logits = trained.chunk(tokens, tokens, None)
    assert logits.shape == (1, 64, MODEL.vocab_size)
    assert bool(torch.isfinite(logits).all())
