"""A court over real runs: a tiny random model is fine-tuned on four answers, for one pass or for many, and asked for them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tasks.ablation import CourtResult, judge
from tasks.ablation.config import Modification, StepCourt
from tasks.ablation.request import Compared, StepJudgeRequest
from tasks.data import heldout_items
from tasks.posttraining.measure import measure
from tasks.posttraining.skill_rows import question, reply
from tests.tasks.data.material import silent
from tests.tasks.posttraining.lab import TEMPLATE, Lab, request_of, sft_step
from tests.tasks.posttraining.material import say

EPOCHS, MANY = "posttraining.sft.main.epochs", 60
PLACEMENT = {"micro_batch_size": 4, "checkpoint_every": 500}
ITEMS = heldout_items("add", 4, seed=0)


@pytest.mark.usefixtures("one_thread")
def test_a_court_over_real_steps(lab: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lab.chat("sft-main", sums=[{"messages": [*question(item, "no_think"), say(reply(item, "no_think"))]} for item in ITEMS])
    inputs: dict[str, Path] = {}
    for arm, epochs in (("baseline", 2), ("by-heart", MANY)):
        for seed in (0, 1):
            inputs |= _run(lab, f"{arm}.{seed}", epochs, seed, monkeypatch)
    many = Modification(name="by-heart", hypothesis="four answers take many passes", change={EPOCHS: MANY})
    court = StepCourt(name="ladder", stage="sft-main", modifications=[many], metric="accuracy/add/no_think/greedy")
    request = StepJudgeRequest(
        court=court, before="sft-main", votes={court.metric: "held out"}, parameters=50_000, baseline={EPOCHS: 2},
        arms=[Compared(name="baseline"), Compared(name="by-heart", modification="by-heart", point={EPOCHS: MANY}, changes={EPOCHS: MANY})],
    )  # fmt: skip
    out = tmp_path / "court"
    out.mkdir()
    summary = judge(request, inputs, out, silent)
    result = CourtResult.parse(json.loads((out / "court.json").read_text()))
    assert summary.evidence["accepted"] == [f"{EPOCHS}={MANY}"], result.decisions
    assert result.decisions[0].outcome == "better" and result.tokens < result.runs[2].tokens
    assert {run.arm: run.metrics[court.metric] > 0.5 for run in result.runs} == {"baseline": False, "by-heart": True}


def _run(lab: Lab, name: str, epochs: int, seed: int, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """The step as the stage trains it, and its measurement."""
    rate: dict[str, Any] = {"learning_rate": 1e-2, "warmup_ratio": 0.1}
    step = sft_step(epochs=epochs, seed=seed, schedule=rate, adam_beta2=0.98, global_batch_size=4, placement=PLACEMENT)
    spec = lab.spec(request_of(step), key=name)
    result = lab.here(spec, monkeypatch, folder=f"job-{name}")
    assert result["exit"] == 0, result["reason"]
    trained, out = lab.part(spec), lab.root / f"measured-{name}"
    out.mkdir()
    evaluation = {"skills": ["add"], "items": 4, "max_answer_tokens": 12}
    measure({"template": TEMPLATE.model_dump(mode="json"), "evaluation": evaluation}, {"model": trained}, out, silent)
    return {name: out, f"{name}.train": trained}
