"""The plan of a court: its figures, and what stops it or must be known."""

from __future__ import annotations

import json
from typing import Any

import pytest

from contracts.errors import ConfigError, GateError
from flows.recipe import Recipe, load
from models.flops import flops_per_token
from tasks.ablation.config import Court
from tasks.ablation.cost import CourtPlan, court_plan, render, require, within_budget
from tasks.compass import plan_training

PRICE = ["purpose.budget.price_per_gpu_hour=2"]


def modification(name: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "hypothesis": "it is better", **fields}


NOPE = modification("nope-off", change={"model.no_rope_every": 0})
LAYERS = modification("layers", sweep={"model.num_layers": [3, 5]})


def court(*modifications: dict[str, Any], **fields: Any) -> Court:
    told = list(modifications) or [NOPE]
    return Court.parse({"tokens": 204_800, "warmup_steps": 2, "evaluation": {"backend": "megatron"}, "modifications": told, **fields})


@pytest.fixture(scope="module")
def tiny() -> Recipe:
    return load("tiny")


def said(plan: CourtPlan, topic: str, level: str = "warn") -> list[str]:
    return [finding.what for finding in plan.findings if (finding.topic, finding.level) == (topic, level)]


def test_figures_follow_from_the_stated_formula(tiny: Recipe) -> None:
    plan = court_plan(court(NOPE, LAYERS, seeds=[0, 1, 2], left_out={"layers[5].2": "lost"}), tiny.override(PRICE))
    assert [(arm.arm, arm.runs) for arm in plan.arms] == [("baseline", 3), ("nope-off", 3), ("layers[3]", 3), ("layers[5]", 2)]
    assert plan.runs == 11 and plan.tokens == 11 * 204_800
    assert plan.arms[0].flops == pytest.approx(3 * 204_800 * flops_per_token(tiny.model, 256))
    assert plan.device_hours == pytest.approx(plan.flops / (0.1e12 * 0.5 * 3600))
    assert plan.money == pytest.approx(2 * plan.device_hours)


def test_the_plan_is_readable_and_survives_json(tiny: Recipe) -> None:
    plan = court_plan(court(NOPE, LAYERS), tiny.override(PRICE))
    text = render(plan)
    assert all(word in text for word in ("nope-off", "layers[5]", "megatron: 6 x", "0.1 TFLOP/s", "8 runs", "EUR", "not converted"))
    assert CourtPlan.parse(json.loads(plan.model_dump_json())) == plan


def test_a_sound_court_is_let_pass(tiny: Recipe) -> None:
    plan = court_plan(court(budget={"device_hours": 1}), tiny)
    require(plan)
    assert plan.findings == []


def test_the_main_run_has_the_first_claim_on_the_limit(tiny: Recipe) -> None:
    limited = tiny.override(["purpose.budget.limit_gpu_hours=0.1"])
    main = plan_training(limited).cost.total_gpu_hours
    assert main is not None
    assert f"leaves {0.1 - main:.3g} beside the main run" in said(court_plan(court(tokens=409_600), limited), "budget", "block")[0]


@pytest.mark.parametrize(
    ("budget", "overrides", "what"),
    [
        ({"device_hours": 0.01}, [], "the court may spend 0.01"),
        ({}, ["purpose.budget.limit_gpu_hours=0.1"], "purpose.budget.limit_gpu_hours leaves "),
        ({"device_hours": 1}, ["purpose.budget.peak_tflops=null"], "no peak is known"),
        ({}, ["purpose.budget.peak_tflops=null", "purpose.budget.limit_gpu_hours=1"], "no peak is known"),
    ],
)
def test_what_costs_too_much_is_refused(tiny: Recipe, budget: dict[str, float], overrides: list[str], what: str) -> None:
    plan = court_plan(court(budget=budget, tokens=409_600), tiny.override(overrides))
    assert any(what in one for one in said(plan, "budget", "block"))
    assert "BLOCKED: budget" in render(plan)
    with pytest.raises(GateError) as refused:
        require(plan)
    assert refused.value.where == "court 'main'" and what in refused.value.what


def test_what_is_set_aside_for_ablations_is_compared_with_all_courts(tiny: Recipe) -> None:
    priced = tiny.override(["purpose.budget.reserve_ablations=1", "purpose.budget.limit_gpu_hours=0.2"])
    assert not said(court_plan(court(), priced), "budget")
    assert "courts take" in said(court_plan(court(), priced, spent=0.05), "budget")[0]
    assert said(court_plan(court(), priced, spent=0.15), "budget", "block")


def test_an_unsound_court_has_no_plan(tiny: Recipe) -> None:
    with pytest.raises(ConfigError, match="'nope' depends on 'x', which is rejected"):
        court_plan(court(modification("nope", change={"model.no_rope_every": 0}, depends_on=["x"])), tiny, {"x": "rejected"})


def test_one_seed_is_allowed_and_said(tiny: Recipe) -> None:
    plan = court_plan(court(seeds=[0]), tiny)
    require(plan)
    assert "under-powered" in said(plan, "seeds")[0]


def test_an_arm_without_a_transformers_class_votes_on_the_trainers_own_model(tiny: Recipe) -> None:
    norm = modification("qk-norm", change={"model.qk_norm": True})
    plan = court_plan(court(norm), tiny)
    assert not plan.converted and "votes as the trainer holds it" in said(plan, "conversion")[0]
    converted = court_plan(court(norm, evaluation={"backend": "transformers"}), tiny)
    assert converted.converted and "qk-norm" in said(converted, "conversion", "block")[0]
    without = tiny.override(["model.no_rope_every=0"])  # then it is Qwen3's architecture
    assert not court_plan(court(norm, evaluation={"backend": "transformers"}), without).findings


def test_another_optimizer_needs_its_own_learning_rate(tiny: Recipe) -> None:
    other = {"muon": "adamw", "adamw": "muon"}[tiny.training.optimizer.kind]
    change = {"training.optimizer.kind": other}
    assert f"takes {other} at the learning rate" in said(court_plan(court(modification("optimizer", change=change)), tiny), "optimizer")[0]
    fair = {"compensations": {"training.phases.*.schedule.learning_rate": 2e-3}, "why_compensated": "each has a rate of its own"}
    assert not said(court_plan(court(modification("optimizer", change=change, **fair)), tiny), "optimizer")


def test_unequal_sizes_and_tokens_are_said(tiny: Recipe) -> None:
    batch = modification("batch", change={"training.phases.*.global_batch_size": 48})
    plan = court_plan(court(LAYERS, batch), tiny)
    assert len(said(plan, "parity")) == 2
    assert "'batch' is trained on +2.0% tokens" in said(plan, "tokens")[0]


def test_a_layout_that_cannot_run_an_arm_is_refused(tiny: Recipe) -> None:
    wide = modification("one-head", change={"model.num_key_value_heads": 1})
    plan = court_plan(court(wide, layout={"tensor_parallel_size": 2}), tiny.override(["training.optimizer.kind=adamw"]))
    assert said(plan, "layout", "block") == ["'one-head': num_key_value_heads 1 cannot be split over tensor_parallel_size 2"]


def test_another_tokenizer_forbids_comparing_losses(tiny: Recipe) -> None:
    digits = modification("digits", change={"tokenizer.digits": "groups_of_three"})
    assert "its loss does not compare" in said(court_plan(court(digits), tiny), "tokenizer", "note")[0]


def test_a_budget_takes_the_first_items_that_fit(tiny: Recipe) -> None:
    case = court(NOPE, LAYERS, modification("masking", change={"model.document_masking": False}))
    items = case.modifications
    each = court_plan(case, tiny).arms[0].device_hours or 0.0
    assert within_budget(items, case, tiny, None) == items
    assert [one.name for one in within_budget(items, case, tiny, 2.5 * each)] == ["nope-off"]
    assert within_budget(items, case, tiny, 1.5 * each) == []
    assert within_budget(items, case, tiny, 100 * each) == items
    with pytest.raises(ConfigError, match="cannot be known"):
        within_budget(items, case, tiny.override(["purpose.budget.peak_tflops=null"]), 1.0)


def test_the_playbooks_ablations_at_1b_cost_what_they_cost_there() -> None:
    """Eight H100 for a day and a half a run, and arms of one size."""
    recipe = load("smollm3-ablations")
    architecture, rate = (court_plan(case, recipe) for case in recipe.ablations.courts)
    assert architecture.arms[0].device_hours == pytest.approx(2 * 1.5 * 24 * 8, rel=0.05)
    assert all(abs(arm.parity.parameter_difference) < 0.03 for arm in architecture.arms)
    assert [arm.arm for arm in rate.arms] == ["baseline", "peak[0.0001]", "peak[0.005]", "peak[0.05]"]
    assert not architecture.blocked and not rate.blocked
