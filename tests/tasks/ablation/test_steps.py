"""Courts over a step after pretraining: their ladders, what they refuse, and what their runs tell."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from contracts.errors import ConfigError, InputError
from flows.recipe import Recipe, load
from tasks.ablation import BASELINE, CourtResult, judge
from tasks.ablation.arms import expand
from tasks.ablation.config import Court, StepCourt
from tasks.ablation.cost import render, step_court_plan
from tasks.ablation.request import Compared, StepJudgeRequest
from tasks.ablation.step_factors import check_step
from tasks.ablation.steps import step_overrides
from tasks.posttraining.skill_scores import Cell, SkillScores

RATE = "posttraining.sft.main.schedule.learning_rate"


@pytest.fixture(scope="module")
def tiny() -> Recipe:
    return load("tiny")


def case(**fields: Any) -> StepCourt:
    return StepCourt.parse({"name": "rate", "stage": "sft-main", **fields})


def change(path: str, value: Any, **fields: Any) -> dict[str, Any]:
    return {"modifications": [{"name": "change", "hypothesis": "it helps", "change": {path: value}, **fields}]}


@pytest.mark.parametrize(
    ("stage", "template", "values"),
    [
        ("sft-main", {"kind": "learning_rate"}, [1e-6, 3e-6, 1e-5, 3e-5, 1e-4]),
        ("sft-main", {"kind": "learning_rate", "multipliers": [0.1, 1, 3]}, [1.5e-4, 4.5e-3]),
        ("sft-main", {"kind": "epochs"}, [2, 3, 4, 5]),
        ("preference-main", {"kind": "learning_rate"}, [1e-7, 5e-7, 1e-6, 5e-6, 1e-5]),
        ("preference-main", {"kind": "pairs", "values": [50, 100]}, [50, 100]),
        ("preference-main", {"kind": "beta"}, [0.01, 0.05, 0.2, 0.5, 0.99]),
        ("reinforcement-main", {"kind": "learning_rate", "values": [1e-5]}, [1e-5]),
    ],
)
def test_a_ladder_tries_what_the_playbook_tried_and_leaves_out_the_baseline(
    tiny: Recipe, stage: str, template: dict[str, Any], values: list[float]
) -> None:
    arms = check_step(case(stage=stage, template=template), tiny)
    assert [next(iter(arm.point.values())) for arm in arms[1:]] == values
    for arm in arms[1:]:
        tiny.override(step_overrides(case(stage=stage, template=template), arm.changes, tiny.model_dump(mode="json"), 1))


def test_rates_are_tried_with_adapters_and_without(tiny: Recipe) -> None:
    template = {"kind": "learning_rate", "values": [1e-3], "lora": {"rank": 4, "alpha": 8.0}}
    arms = check_step(case(template=template), tiny)
    lora = "posttraining.sft.main.lora"
    assert [(arm.point[RATE], arm.point[lora] is not None) for arm in arms[1:]] == [(1e-3, False), (1e-3, True), (1.5e-3, True)]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"stage": "sft-mian", "template": {"kind": "epochs"}}, "did you mean 'sft-main'"),
        (change("posttraining.sft.main.schedule.learning_rte", 1e-3), "did you mean 'learning_rate'"),
        (change("posttraining.sft.mian.epochs", 2), "did you mean 'main'"),
        (change("posttraining.sft.main.schedule", {"learning_rate": 1e-3, "warmup_ratio": 0.2}), "changes 2 things"),
        (change("posttraining.preference.main.beta", 0.5), "one step at a time"),
        (change("training.optimizer.kind", "muon"), "no part of sft-main"),
        (change("posttraining.sft.main.seed", 3), "`seeds` of the court"),
        (change("posttraining.sft.main.parent", "sft-add"), "is no (factor|recipe)"),
        (change("posttraining.sft.main.placement.micro_batch_size", 8), "placement and gates are no factors"),
        (change(RATE, 1.5e-3), "has that already"),
        ({**change(RATE, 1e-3), "metric": "accuracy/ad/think/greedy"}, "did you mean 'accuracy/add/think/greedy'"),
        ({**change(RATE, 1e-3), "left_out": {"chnge.0": "lost"}}, "did you mean 'change.0'"),
        ({"template": {"kind": "pairs"}}, "no max_pairs"),
        ({"stage": "reinforcement-main", "template": {"kind": "learning_rate"}}, "nobody has published"),
        ({"template": {"kind": "epochs", "multipliers": [2]}}, "multipliers are factors"),
        ({"template": {"kind": "epochs", "lora": {"rank": 4}}}, "takes no adapters"),
        ({"template": {"kind": "epochs", "values": [1]}}, "nothing is left to compare"),
        (change(RATE, 1e-3, benefit="speed"), "judges answers, not the speed"),
    ],
)
def test_what_is_no_court_is_refused(tiny: Recipe, fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        check_step(case(**fields), tiny)


def test_the_plan_says_runs_and_an_upper_bound(tiny: Recipe) -> None:
    plan = step_court_plan(case(template={"kind": "epochs", "values": [2]}, left_out={"epochs[2].1": "its disk"}), tiny)
    once, twice = plan.arms
    assert (once.runs, twice.runs, once.examples, twice.examples) == (2, 1, 2560, 5120)
    assert once.tokens == 2560 * 128 and once.flops is not None and twice.flops == once.flops  # one run of twice the passes
    assert "3 runs" in render(plan) and "at most" in render(plan)
    dear = case(template={"kind": "epochs", "values": [2]}, budget={"device_hours": 1e-6})
    assert "may spend" in step_court_plan(dear, tiny).blocked[0].what
    unknown = case(stage="reinforcement-main", **change("posttraining.reinforcement.main.steps", 80), budget={"device_hours": 1})
    assert "cannot be checked" in step_court_plan(unknown, tiny).blocked[0].what
    other = step_court_plan(case(template={"kind": "epochs", "values": [2]}, seeds=[1, 2]), tiny)
    assert "put 0 into `seeds`" in [finding.do for finding in other.findings]


def test_a_court_before_a_phase_is_what_it_was(tiny: Recipe) -> None:
    assert isinstance(tiny.ablations.courts[0], Court) and len(expand(tiny.ablations.courts[0], tiny.model_dump(mode="json"))) == 3


def scores(right: dict[str, int], items: int = 100, questions: str = "q") -> SkillScores:
    cells = [
        Cell.parse(
            {
                "skill": "add", "mode": mode, "decoding": decoding, "correct": [1] * right[mode] + [0] * (items - right[mode]),
                **{key: [0] * items for key in ("formatted", "cut", "tokens", "reflections")},
            }
        )
        for decoding in ("greedy", "sampled")
        for mode in ("think", "no_think")
    ]  # fmt: skip
    return SkillScores(questions=questions, side="validation", cells=cells)


def held(folder: Path, made: Callable[[str, int], SkillScores | None], seeds: Sequence[int] = (0, 1, 2), **more: Any) -> CourtResult:
    """A court over two rates whose runs left these measurements; None: nothing."""
    template = {"kind": "learning_rate", "values": [1e-3, 3e-3]}
    court = case(template=template, seeds=list(seeds), **more.pop("court", {}))
    changes = expand(court, load("tiny").model_dump(mode="json"))
    inputs: dict[str, Path] = {}
    for arm in changes:
        for seed in seeds:
            found, name = made(arm.name, seed), f"{arm.name}.{seed}"
            if found is None:
                continue
            inputs |= {name: folder / name, f"{name}.train": folder / f"{name}.train"}
            for place in (folder / name, folder / f"{name}.train"):
                place.mkdir()
            found.write(folder / name)
            counts = {"steps": 80, "tokens": 100_000}
            (folder / f"{name}.train" / "training.json").write_text(json.dumps({"counts": counts, "metrics": {"loss": 0.5}}))
    request = StepJudgeRequest(
        court=court, before="sft-main", votes={court.metric: "held out"}, parameters=1_000_000, required=["add/think"],
        arms=[
            Compared(name=arm.name, modification=arm.modification.name if arm.modification else "", point=arm.point, changes=arm.changes)
            for arm in changes
        ],
        modifications=[arm.modification for arm in changes[1:2] if arm.modification], baseline={RATE: 1.5e-3},
    )  # fmt: skip
    out = folder / "out"
    out.mkdir()
    judge(request, inputs, out, lambda *_: None)
    return CourtResult.parse(json.loads((out / "court.json").read_text()))


def steady(arm: str, seed: int) -> SkillScores:
    """Thinking is right in 60 of 100, with the rate 3e-3 in 80, give or take one for the seed."""
    base = 80 if arm == "learning-rate[0.003]" else 60
    return scores({"think": base + seed % 2, "no_think": 10})


def test_held_out_answers_decide_and_losses_are_not_compared(tmp_path: Path) -> None:
    result = held(tmp_path, steady)
    (one,) = result.decisions
    assert (one.state, one.arm, one.accepted) == ("accepted", "learning-rate[0.003]", {RATE: 3e-3})
    assert "better by 10.0 points" in one.sentence and "1.0 M parameters, sft-main of 80 steps" in one.sentence
    assert result.accepted == [f"{RATE}=0.003"] and result.diff == [f"{RATE}: 0.0015 -> 0.003"]
    assert all(not run.loss and not run.heldout for run in result.runs)
    run = result.runs[0]
    assert (run.arm, run.metrics["accuracy/all/greedy"], run.metrics["accuracy/required/greedy"]) == (BASELINE, 0.35, 0.6)
    effect = result.effect("learning-rate[0.003]", "accuracy/add/no_think/greedy")
    assert effect is not None and effect.value == 0.0 and not effect.lower_is_better


def test_a_run_that_is_given_up_stays_in_the_table_and_one_that_is_missing_is_refused(tmp_path: Path) -> None:
    lost = "learning-rate[0.001].1"

    def made(arm: str, seed: int) -> SkillScores | None:
        return None if f"{arm}.{seed}" == lost else steady(arm, seed)

    for place in ("refused", "kept"):
        (tmp_path / place).mkdir()
    with pytest.raises(InputError, match=r"learning-rate\[0.001\].1' has no training"):
        held(tmp_path / "refused", made)
    result = held(tmp_path / "kept", made, court={"left_out": {lost: "it diverged"}})
    assert [run.left_out for run in result.runs if run.left_out] == ["it diverged"] and len(result.runs) == 9
    assert result.decisions[0].state == "accepted"


def test_a_measure_that_no_run_moves_is_said(tmp_path: Path) -> None:
    result = held(tmp_path, lambda arm, seed: scores({"think": 0, "no_think": 0}))
    assert "0 in every run" in result.remarks[0] and result.decisions[0].state != "accepted"


def test_runs_that_were_asked_other_questions_do_not_compare(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="different questions"):
        held(tmp_path, lambda arm, seed: scores({"think": 50, "no_think": 5}, questions="p" if seed else "q"))
