"""The plan's arithmetic against published figures, and everything a plan must refuse."""

from __future__ import annotations

import json

import pytest

from contracts.errors import GateError, ResourceError
from models.memory import GIB
from tasks.compass import TrainingPlan, epoch_problems, fits_memory, plan_training, render, require


def findings(plan, topic, level="block"):
    return [finding.what for finding in plan.findings if finding.topic == topic and finding.level == level]


def test_smollm3_has_the_published_figures(parts):
    plan = plan_training(parts("smollm3-3b"))
    by_name = {phase.name: phase for phase in plan.phases}
    assert plan.parameters == 3_075_098_624
    assert by_name["stage3"].last_step == 4_720_000
    assert by_name["stage1"].tokens_per_batch == 2_359_296
    assert round(by_name["stage1"].static_bytes / GIB, 2) == 8.68
    assert by_name["stage1"].ranks == 384
    assert round(sum(by_name[name].tokens for name in ("stage1", "stage2", "stage3")) / 1e12, 2) == 11.14
    assert (by_name["long-32k"].steps, by_name["long-64k"].steps) == (20_000, 22_000)
    assert by_name["long-32k"].tokens_per_batch == by_name["long-64k"].tokens_per_batch == 2_359_296
    assert by_name["stage1"].accumulation == 1
    assert not plan.blocked


def test_hours_follow_from_the_stated_formula(parts):
    plan = plan_training(parts("smollm3-3b"))
    stage = plan.phases[0]
    assert stage.flops / stage.tokens == pytest.approx(20.26e9, rel=1e-3)
    assert stage.gpu_hours == pytest.approx(stage.flops / (989.4e12 * 0.28) / 3600)
    assert stage.tokens_per_second == pytest.approx(13_673, rel=1e-3)
    assert "megatron" in plan.cost.formula and "989.4" in plan.cost.peak


def test_tokens_of_a_source_are_its_share_of_each_phase_and_unknown_sizes_stay_unknown(parts):
    plan = plan_training(parts("smollm3-3b"))
    sources = {source.name: source for source in plan.sources}
    assert sources["finemath-3plus"].tokens["stage1"] == pytest.approx(0.017 * 8_139_571_200_000)
    assert sources["pes2o"].epochs is None
    for phase in plan.phases:  # shares that do not sum to 1 exactly are normalised: nothing is lost or invented
        assert sum(source.tokens.get(phase.name, 0) for source in plan.sources) == pytest.approx(phase.tokens, rel=1e-9)
    text = render(plan)
    assert "unknown" in text and "4,720,000" in text and "8.68 GiB" in text


def test_tensor_parallelism_of_three_is_refused_with_the_reason(parts):
    def three(document):
        document["training"]["phases"][0]["layout"] = {"tensor_parallel_size": 3, "data_parallel_size": 192, "micro_batch_size": 3}

    plan = plan_training(parts("smollm3-3b", three))
    assert any("num_attention_heads 16" in what for what in findings(plan, "layout"))
    with pytest.raises(GateError, match="tensor_parallel_size 3"):
        require(plan)


def test_a_source_read_too_often_blocks_unless_accepted_with_a_reason(parts):
    def small(document):
        document["data"]["sources"][0]["published_tokens"] = 30_000
        document["data"]["sources"][1]["published_tokens"] = 100_000

    plan = plan_training(parts("tiny", small))
    assert any("'prose'" in what for what in findings(plan, "epochs"))

    def accepted(document):
        small(document)
        document["purpose"]["epochs"] = {"accepted": {"prose": "a test", "code": "a test"}}

    plan = plan_training(parts("tiny", accepted))
    assert not findings(plan, "epochs")
    assert any("accepted: a test" in what for what in findings(plan, "epochs", "note"))


def test_measured_sizes_replace_published_ones(parts):
    recipe = parts("tiny")
    plan = plan_training(recipe, {"prose": 1_000_000, "code": 1_000_000, "math": 1_000_000, "skills": 1_000_000})
    assert all(source.epochs is not None and source.epochs < 1 for source in plan.sources)
    assert epoch_problems(recipe.training, recipe.purpose.epochs, {"prose": 10_000, "code": 1_000_000, "math": 1_000_000})[0].startswith(
        "'prose'"
    )
    assert epoch_problems(recipe.training, recipe.purpose.epochs, {"prose": 1_000_000}) == []


@pytest.mark.parametrize("motive", ["we_have_compute", "everyone_does_it", "ai_is_the_future", "best_possible_model"])
def test_motives_that_never_justify_training_block(parts, motive):
    plan = plan_training(parts("tiny", lambda document: document["purpose"].update(motive=motive)))
    assert findings(plan, "motive")


def test_a_production_model_needs_proof_that_nothing_cheaper_works(parts):
    def purpose(document, **more):
        document["purpose"] = {"motive": "production", "question": "q", "why": "w", **more}

    assert len(findings(plan_training(parts("tiny", purpose)), "evidence")) == 2
    enough = {"tried": "a 7B model", "metric": "accuracy", "score": 0.9, "needed": 0.8}
    short = enough | {"score": 0.5}
    plan = plan_training(parts("tiny", lambda d: purpose(d, prompting=enough, finetuning=short)))
    assert any("already reaches" in what for what in findings(plan, "evidence"))
    assert not findings(plan_training(parts("tiny", lambda d: purpose(d, prompting=short, finetuning=short))), "evidence")


def test_limits_of_money_time_target_and_device_memory_block(parts):
    def limits(document):
        document["purpose"]["budget"] |= {"limit_gpu_hours": 1000, "limit_days": 10, "device_memory_gib": 20}
        document["purpose"]["target"] |= {"memory_gib": 1, "context_tokens": 131_072}

    plan = plan_training(parts("smollm3-3b", limits))
    assert len(findings(plan, "budget")) == 2
    assert any("5.73 GiB" in what for what in findings(plan, "target"))
    assert any("131,072" in what for what in findings(plan, "target", "warn"))
    assert any("stage1" in what for what in findings(plan, "memory"))


def test_a_limit_that_cannot_be_checked_blocks(parts):
    def unknown(document):
        document["purpose"]["budget"] = {"gpu": "cpu", "limit_gpu_hours": 1}

    plan = plan_training(parts("tiny", unknown))
    assert plan.cost.gpu_hours is None and findings(plan, "budget")
    assert "unknown" in render(plan)


def test_too_little_memory_is_said_before_the_run(parts):
    plan = plan_training(parts("tiny"))
    fits_memory(plan, 64 * GIB)
    with pytest.raises(ResourceError, match="2 rank"):
        fits_memory(plan, 200 * 2**20)
    with pytest.raises(ResourceError, match=r"stage1|long"):
        fits_memory(plan_training(parts("smollm3-3b")), 64 * GIB)


def test_a_plan_survives_json(parts):
    plan = plan_training(parts("tiny"))
    assert TrainingPlan.parse(json.loads(plan.model_dump_json())) == plan
