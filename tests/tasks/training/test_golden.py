"""Frozen losses of a small job: code that changes what training computes must raise the version of the stage `train` (in flows/)."""

from __future__ import annotations

import pytest

from tests.tasks.training.material import Bench, curve, phase

GOLDEN = {1: 5.925649, 6: 5.833370, 12: 5.319635}
"""Step -> loss in nats per token, mean of the step's batch."""
HELDOUT = {"a": 5.113844, "b": 5.620086}
"""Source -> held-out loss after the last step, nats per token."""
TOLERANCE = 1e-4  # another order of float32 sums on another processor moves them by less


def test_losses_are_as_frozen(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = bench.spec(phase())
    assert bench.here(spec, monkeypatch)["exit"] == 0
    told = curve(bench.part(spec, "step-00000012"))
    assert {step: told[step]["loss"] for step in GOLDEN} == pytest.approx(GOLDEN, abs=TOLERANCE)
    assert {name: told[12][f"heldout_loss/{name}"] for name in HELDOUT} == pytest.approx(HELDOUT, abs=TOLERANCE)
