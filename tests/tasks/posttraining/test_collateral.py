"""What a loss over pairs can do to a skill while its own metrics rise, really trained; and that the gate sees it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from tasks.posttraining import Change, PairsRequest, SkillScores, compare, read_skills, regression_problems
from tasks.posttraining.config import PreferenceConfig
from tasks.posttraining.measure import measure
from tasks.posttraining.pairs import pairs
from tasks.posttraining.skill_rows import skill_rows
from tests.tasks.data.material import silent
from tests.tasks.posttraining.half_skilled import MODES, SKILL, half_skilled
from tests.tasks.posttraining.lab import TEMPLATE, Lab, preference_step, request_of

PROMPTS = 480


class Trained(NamedTuple):
    """One step of preference optimisation, in its own eyes and in those of the gate."""

    own: dict[str, float]
    """Metrics of the stage, of held-out pairs."""
    changes: dict[str, Change]
    """Generated held-out answers, against the parent's."""
    problems: list[str]
    """Of the gate, at a recipe's defaults."""


def step(sft_weight: float) -> PreferenceConfig:
    """Three passes over the pairs, about 30 steps of 32; all else as in the preset `tiny` but the learning rate, for a model an eighth of
    that size."""
    return preference_step(
        sources=[{"name": f"reverse-{mode}", "uri": f"generated:{SKILL}", "mode": mode} for mode in MODES],
        pairs={"samples": 6, "temperature": 1.0, "max_answer_tokens": 32, "heldout_share": 0.25}, loss="apo_zero", sft_weight=sft_weight,
        beta=0.1, schedule={"learning_rate": 2e-4, "warmup_ratio": 0.1}, epochs=3, global_batch_size=32, max_length=128, clip_grad=1.0,
        adam_beta2=0.98, placement={"gpus_per_node": 0, "micro_batch_size": 32, "checkpoint_every": 100},
    )  # fmt: skip


def measured(model: Path, out: Path) -> SkillScores:
    """Held-out answers."""
    out.mkdir()
    evaluation = {"skills": [SKILL], "items": 150, "max_answer_tokens": 32}
    measure({"template": TEMPLATE.model_dump(mode="json"), "evaluation": evaluation}, {"model": model}, out, silent)
    return read_skills(out)


def prepared(root: Path, seed: int) -> Lab:
    """A store with a half-skilled parent, and pairs of its own answers."""
    root.mkdir(exist_ok=True)
    lab = Lab(root, half_skilled(root, seed))
    asked = {f"reverse-{mode}": list(skill_rows(SKILL, mode, PROMPTS // 2, f"pairs {mode}")) for mode in MODES}
    chat = lab.chat("preference-main", **asked)
    (root / "pairs").mkdir()
    request = PairsRequest(template=TEMPLATE, step=step(0.0)).model_dump(mode="json")
    pairs(request, {"model": lab.model, "chat": chat}, root / "pairs", silent)
    lab.inputs["pairs"] = root / "pairs"
    return lab


def trained(lab: Lab, sft_weight: float, before: SkillScores, monkeypatch: pytest.MonkeyPatch) -> Trained:
    name = f"sft-{sft_weight:g}"
    spec = lab.spec(request_of(step(sft_weight)), name)
    result = lab.here(spec, monkeypatch, folder=name)
    assert result["exit"] == 0, result["reason"]
    after = measured(lab.part(spec), lab.root / f"after-{name}")
    bounds = step(sft_weight).max_regression, step(sft_weight).max_cell_regression
    own = {key.removeprefix("heldout/"): value for key, value in result["summary"]["metrics"].items()}
    return Trained(own, {one.name: one for one in compare(before, after)}, regression_problems(before, after, *bounds))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("one_thread")
def test_apo_zero_alone_wins_its_pairs_loses_the_skill_and_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same pairs and settings with a likelihood term on the chosen answer: the skill stays, and the gate passes. So it is for the seeds
    0, 1 and 2: sampled accuracy 0.84 to 0.54, 0.65 to 0.30 and 0.66 to 0.49 alone, 0.84 to 0.79, 0.65 to 0.64 and 0.66 to 0.66 with it.
    The last one is furthest from the gate's bound on both sides, which leaves room for a machine that adds in another order."""
    lab = prepared(tmp_path, seed=2)
    before = measured(lab.model, tmp_path / "before")
    alone, kept = (trained(lab, weight, before, monkeypatch) for weight in (0.0, 1.0))
    for one in (alone, kept):
        assert one.own["margin"] > 0.05 and one.own["reward_accuracy"] > 0.55, one.own
    assert [alone.changes[f"all/{decoding}"].verdict for decoding in ("greedy", "sampled")] == ["loss", "loss"], alone.changes
    for decoding in ("greedy", "sampled"):
        assert any(problem.startswith(f"held-out accuracy ({decoding}) fell") for problem in alone.problems), alone.problems
    assert kept.problems == [], kept.changes
