"""A run that diverges: where the job says so it ends well and early, once and for all."""

from __future__ import annotations

import json
import math

import pytest

from tasks.training.divergence import WINDOW, LossWatch
from tests.tasks.training.material import Bench, curve, phase

WILD = {"schedule": {"learning_rate": 1e3, "warmup_steps": 3}, "tokens": 60 * 256, "checkpoint_every": 4}
RISING = WILD | {"schedule": {"learning_rate": 10.0, "warmup_steps": 3}}
"""Losses in the thousands that stay numbers."""


def test_a_diverged_run_ends_well_and_early(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = bench.spec(phase(**WILD), ends=True)
    result = bench.here(spec, monkeypatch)
    assert result["exit"] == 0, result["reason"]
    metrics = result["summary"]["metrics"]
    end = int(metrics["diverged_at"])
    assert 1 < end <= 3 + WINDOW, "noticed as soon as the rule allows"
    assert result["part"] == f"step-{end:08d}" == bench.part_names(spec)[-1]
    assert result["summary"]["counts"]["steps"] == end and all(map(math.isfinite, metrics.values()))
    (incident,) = result["summary"]["evidence"]["incidents"]
    assert incident["step"] == end and incident["symptom"].startswith("diverged: ") and incident["evidence"]["learning_rate"] == 1e3
    part = bench.part(spec, result["part"])
    assert json.loads((part / "state.json").read_text())["diverged_at"] == end
    assert list(curve(part)) == list(range(1, end + 1))


def test_a_diverged_run_is_finished_at_any_length(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = bench.spec(phase(**WILD), ends=True)
    first = bench.here(spec, monkeypatch)
    assert bench.here(spec, monkeypatch, "again") == first
    longer = bench.spec(phase(**(WILD | {"tokens": 90 * 256})), ends=True)
    assert bench.here(longer, monkeypatch, "longer") == first
    assert not (bench.root / "again" / "metrics.jsonl").exists() and not (bench.root / "longer" / "metrics.jsonl").exists()


def test_a_loss_that_is_no_number_ends_it_at_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = bench.spec(phase(schedule={"learning_rate": 1e30}), ends=True)
    result = bench.here(spec, monkeypatch)
    assert result["exit"] == 0, result["reason"]
    assert result["summary"]["metrics"]["diverged_at"] < WINDOW
    assert "nan" in result["summary"]["evidence"]["incidents"][0]["symptom"]


def test_a_healthy_run_is_the_same_bit_for_bit(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    long = {"tokens": 20 * 256}
    plain, ending = bench.spec(phase(**long), key="plain"), bench.spec(phase(**long), key="ending", ends=True)
    results = [bench.here(spec, monkeypatch, spec.workspace_key) for spec in (plain, ending)]
    assert [result["part"] for result in results] == ["step-00000020"] * 2
    assert "diverged_at" not in results[1]["summary"]["metrics"]
    parts = [bench.part(spec, "step-00000020") for spec in (plain, ending)]
    assert curve(parts[0]) == curve(parts[1])
    weights = [{path.name: path.read_bytes() for path in (part / "checkpoint").glob("*.distcp")} for part in parts]
    assert weights[0] == weights[1]


def test_an_interrupted_run_diverges_at_the_same_step(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = bench.here(bench.spec(phase(**RISING), key="whole", ends=True), monkeypatch, "whole")
    short = bench.spec(phase(**(RISING | {"tokens": 8 * 256})), key="grown", ends=True)
    assert "diverged_at" not in bench.here(short, monkeypatch, "short")["summary"]["metrics"]
    grown = bench.here(bench.spec(phase(**RISING), key="grown", ends=True), monkeypatch, "grown")
    assert grown["part"] == whole["part"] == f"step-{3 + WINDOW:08d}"


@pytest.mark.timeout(120)
def test_two_ranks_end_together(bench: Bench) -> None:
    both = {"data_parallel_size": 2, "micro_batch_size": 2}
    spec = bench.spec(phase(**RISING, layout=both), ends=True)
    job = bench.start(spec)
    result = job.wait()
    assert (result["exit"], job.process.returncode) == (0, 0), job.log()[-3000:]
    assert result["part"] == f"step-{int(result['summary']['metrics']['diverged_at']):08d}"


def test_a_phase_that_goes_on_is_held_against_the_very_beginning(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    first = bench.spec(phase(), key="first")
    bench.here(first, monkeypatch, "first")
    parent = bench.commit("train-stable", "parent", bench.part(first, "step-00000012"))
    second = bench.spec(phase("decay", tokens=16 * 256, mixture={"c": 1.0}), key="second", parent=parent, ends=True)
    result = bench.here(second, monkeypatch, "second")
    assert "diverged_at" not in result["summary"]["metrics"]
    states = [json.loads((bench.part(*one) / "state.json").read_text()) for one in ((first, "step-00000012"), (second, result["part"]))]
    assert states[1]["initial_loss"] == states[0]["initial_loss"] == curve(bench.part(first, "step-00000012"))[1]["loss"]


def test_what_counts_as_worse() -> None:
    def first_worse(losses: list[float], warmup: int = 0, **before: float) -> int | None:
        watch = LossWatch(warmup, **before)
        return next((step for step, loss in enumerate(losses, 1) if watch.worse(step, loss)), None)

    assert first_worse([5.0] * 40) is None, "equal is not worse"
    assert first_worse([5.0] + [5.1] * 40) == WINDOW
    assert first_worse([5.0] + [6.0] * 12 + [4.0] * 30, warmup=20) is None, "the warm-up may be rough"
    assert first_worse([5.0] + [4.0] * 20 + [8.0] + [4.0] * 20) is None, "one bad batch"
    assert first_worse([3.0] + [3.2] * 40, initial=6.0) is None
    assert LossWatch(0).broken(math.nan, 1.0) and LossWatch(0).broken(1.0, math.inf) and not LossWatch(0).broken(1.0, 1.0)
