"""Template sweeps: the modifications they write, and what they cannot be asked."""

from __future__ import annotations

from typing import Any

import pytest

from contracts.errors import ConfigError
from flows.recipe import Recipe, load
from tasks.ablation.arms import Arm, arm_overrides, expand
from tasks.ablation.config import Court
from tasks.ablation.factors import check

RATE = "training.phases.*.schedule.learning_rate"
ACCEPTED = [
    {"name": "nope-off", "hypothesis": "h", "change": {"model.no_rope_every": 0}},
    {"name": "cool", "hypothesis": "h", "change": {RATE: 1e-3}},
    {
        "name": "mha",
        "hypothesis": "h",
        "change": {"model.num_key_value_heads": 4},
        "compensations": {"model.ffn_hidden_size": 344},
        "why_compensated": "p",
    },
]


@pytest.fixture(scope="module")
def tiny() -> Recipe:
    return load("tiny", [f"{RATE}=0.003"])


def court(template: dict[str, Any], **fields: Any) -> Court:
    return Court.parse({"tokens": 204_800, "warmup_steps": 2, "template": template, "evaluation": {"backend": "megatron"}, **fields})


def arms(recipe: Recipe, case: Court) -> dict[str, Arm]:
    return {arm.name: arm for arm in check(case, recipe)}


def resolved(recipe: Recipe, case: Court, arm: Arm) -> Recipe:
    return recipe.override(arm_overrides(arm, case, recipe.model_dump(mode="json"), 0))


def test_a_learning_rate_is_bracketed_around_the_phases_own(tiny: Recipe) -> None:
    found = arms(tiny, court({"kind": "learning_rate"}))
    assert [arm.point.get(RATE) for arm in found.values()] == [None, 3e-4, 9e-4, 9e-3, 3e-2]


def test_where_phases_have_rates_of_their_own_only_the_courts_is_moved() -> None:
    case = court({"kind": "learning_rate", "multipliers": [2]}, tokens=10**9, layout={"tensor_parallel_size": 2, "data_parallel_size": 8})
    (_, arm) = arms(load("smollm3-3b"), case).values()
    assert arm.point == {"training.phases.stage1.schedule.learning_rate": 4e-4}


def test_a_grid_has_the_phases_own_values_on_both_axes(tiny: Recipe) -> None:
    found = arms(tiny, court({"kind": "learning_rate_x_batch", "multipliers": [0.5, 2]}, layout={"micro_batch_size": 4}))
    points = {tuple(arm.point.values()) for arm in found.values() if arm.point}
    assert points == {(rate, batch) for rate in (1.5e-3, 3e-3, 6e-3) for batch in (4, 8, 16)} - {(3e-3, 8)}  # the baseline's own point


def test_two_sources_share_what_they_have_together(tiny: Recipe) -> None:
    case = court({"kind": "mixture_ratio", "sources": ["math", "prose"], "shares": [0.25, 1.0]})
    mixtures = [resolved(tiny, case, arm).training.phases[0].mixture for arm in arms(tiny, case).values()]
    assert mixtures[1:] == [{"math": 0.15, "prose": 0.45, "code": 0.4}, {"math": 0.6, "prose": 0.0, "code": 0.4}]


def test_a_share_is_taken_from_all_others_alike(tiny: Recipe) -> None:
    case = court({"kind": "share", "sources": ["code"], "shares": [0.0, 0.1]})
    mixtures = [resolved(tiny, case, arm).training.phases[0].shares for arm in arms(tiny, case).values()]
    assert mixtures[1] == pytest.approx({"prose": 2 / 3, "math": 1 / 3}, abs=1e-5)
    assert mixtures[2] == pytest.approx({"code": 0.1, "prose": 0.6, "math": 0.3}, abs=1e-5)


def test_annealing_is_two_parts_todays_mixture_and_three_parts_the_candidate(tiny: Recipe) -> None:
    case = court({"kind": "annealing", "sources": ["math", "code"]}, before="decay")
    found = arms(tiny, case)
    assert list(found) == ["baseline", "annealing-math", "annealing-code"]
    math = resolved(tiny, case, found["annealing-math"])
    assert math.training.phases[0] == tiny.training.phases[0]
    assert math.training.phases[1].mixture == pytest.approx({"math": 0.72, "prose": 0.14, "code": 0.14})
    assert resolved(tiny, case, found["baseline"]).training.phases[1].mixture == tiny.training.phases[1].mixture
    assert {resolved(tiny, case, arm).training.phases[1].schedule.end for arm in found.values()} == {0.0}


def test_leave_one_out_starts_from_the_whole_set(tiny: Recipe) -> None:
    case = court({"kind": "leave_one_out", "accepted": ACCEPTED})
    found = {name: resolved(tiny, case, arm) for name, arm in arms(tiny, case).items()}
    assert list(found) == ["baseline", "without-nope-off", "without-cool", "without-mha"]

    def told(recipe: Recipe) -> tuple[int, float, int, int]:
        model = recipe.model
        return model.no_rope_every, recipe.training.phases[-1].schedule.learning_rate, model.num_key_value_heads, model.ffn_hidden_size

    assert told(found["baseline"]) == (0, 1e-3, 4, 344)
    assert told(found["without-nope-off"]) == (4, 1e-3, 4, 344)
    assert told(found["without-cool"]) == (0, 3e-3, 4, 344)
    assert told(found["without-mha"]) == (0, 1e-3, 2, 384)


def test_leaving_out_gives_each_phase_its_own_value_back(tiny: Recipe) -> None:
    uneven = tiny.override(["training.phases.decay.schedule.learning_rate=0.002"])
    without = expand(court({"kind": "leave_one_out", "accepted": ACCEPTED}), uneven.model_dump(mode="json"))[2]
    rate = "training.phases.{}.schedule.learning_rate"
    assert without.changes == {rate.format(0): 3e-3, rate.format(1): 2e-3, rate.format(2): 3e-3}


def test_the_set_is_checked_again_on_the_model_at_target_size(tiny: Recipe) -> None:
    case = court({"kind": "target_size", "accepted": ACCEPTED[:2], "model": {"num_layers": 8, "hidden_size": 256, "head_dim": 32}})
    found = {name: resolved(tiny, case, arm) for name, arm in arms(tiny, case).items()}
    assert list(found) == ["baseline", "accepted-set"]
    assert {(one.model.num_layers, one.model.hidden_size) for one in found.values()} == {(8, 256)}
    assert [one.model.no_rope_every for one in found.values()] == [4, 0]
    assert [one.training.phases[0].schedule.learning_rate for one in found.values()] == [3e-3, 1e-3]


@pytest.mark.parametrize(
    ("template", "fields", "said"),
    [
        ({"kind": "mixture_ratio", "sources": ["prose"]}, {}, "2 source(s) are asked for"),
        ({"kind": "share", "sources": []}, {}, "1 source(s) are asked for"),
        ({"kind": "share", "sources": ["prosa"]}, {}, "did you mean 'prose'"),
        ({"kind": "annealing", "sources": ["math"]}, {}, "from a checkpoint"),
        ({"kind": "annealing", "sources": ["math"]}, {"before": "decay", "shape": "constant"}, "decays the learning rate"),
        ({"kind": "annealing", "sources": []}, {"before": "decay"}, "at least one source(s)"),
        ({"kind": "leave_one_out"}, {}, "no accepted set"),
        ({"kind": "target_size", "accepted": ACCEPTED}, {}, "needs the target"),
        ({"kind": "target_size", "accepted": ACCEPTED, "model": {"num_layer": 8}}, {}, "did you mean 'num_layers'"),
        ({"kind": "leave_one_out", "accepted": [ACCEPTED[0] | {"change": {}, "sweep": {RATE: [1]}}]}, {}, "one of its points was accepted"),
        ({"kind": "learning_rate"}, {"before": "decai"}, "did you mean 'decay'"),
        ({"kind": "share", "sources": ["code"], "shares": [1.5]}, {}, "shares are not negative"),
    ],
)
def test_what_a_template_cannot_be_asked_is_refused(tiny: Recipe, template: dict[str, Any], fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        check(court(template, **fields), tiny)
    assert said in refused.value.what


def test_sources_that_a_phase_does_not_mix_have_no_ratio(tiny: Recipe) -> None:
    alone = tiny.override(["training.phases.stable.mixture={code: 1}"])
    for template, said in (
        ({"kind": "mixture_ratio", "sources": ["prose", "math"]}, "mixes neither"),
        ({"kind": "share", "sources": ["code"]}, "no source but"),
    ):
        with pytest.raises(ConfigError, match=said):
            check(court(template), alone)
