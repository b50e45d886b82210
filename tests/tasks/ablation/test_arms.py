"""Arms as recipes: what a run is, and what no run can be."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from contracts.config import digest, identity
from contracts.errors import ConfigError
from flows.recipe import Recipe, load
from infra.store.documents import NAME
from models.layout import Layout
from tasks.ablation.arms import Arm, arm_overrides, expand, qualification_overrides
from tasks.ablation.config import Court, Modification, Qualification

RATE = "training.phases.*.schedule.learning_rate"


def modification(name: str = "nope-off", **fields: Any) -> dict[str, Any]:
    given = {"change": {"model.no_rope_every": 0}} if not {"change", "sweep"} & set(fields) else {}
    return {"name": name, "hypothesis": "it changes something", **given, **fields}


def court(**fields: Any) -> Court:
    told = {"modifications": [modification()]} if "template" not in fields else {}
    return Court.parse({"tokens": 40_960, "warmup_steps": 2, "evaluation": {"backend": "megatron"}, **told, **fields})


def run(case: Court, arm: Arm, recipe: Recipe, seed: int = 0) -> Recipe:
    return recipe.override(arm_overrides(arm, case, recipe.model_dump(mode="json"), seed))


def arms(case: Court, recipe: Recipe) -> dict[str, Arm]:
    return {arm.name: arm for arm in expand(case, recipe.model_dump(mode="json"))}


@pytest.fixture(scope="module")
def smoke() -> Recipe:
    return load("smoke")


def test_the_baseline_comes_first_and_a_change_is_one_arm(smoke: Recipe) -> None:
    case = court(modifications=[modification(), modification("tied", change={"model.tie_embeddings": False})])
    assert list(arms(case, smoke)) == ["baseline", "nope-off", "tied"]
    assert arms(case, smoke)["baseline"].changes == {}


def test_every_combination_of_a_sweep_is_an_arm_but_the_baselines_own(smoke: Recipe) -> None:
    sweep = {RATE: [1e-4, 5e-3], "training.phases.stable.global_batch_size": [8, 16]}
    found = arms(court(modifications=[modification("grid", sweep=sweep)]), smoke)
    assert list(found) == ["baseline", "grid[0.0001,8]", "grid[0.0001,16]", "grid[0.005,16]"]  # 0.005 is the decay's rate too
    assert found["grid[0.0001,16]"].point == {RATE: 1e-4, "training.phases.stable.global_batch_size": 16}


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ([True, False], ["on", "off"]),
        ([None, 8], ["none", "8"]),
        ([{"prose": 0.25, "code": 0.75}, {"prose": 0.5, "code": 0.5}], ["prose-0.25", "prose-0.5"]),
        (["A b", "a/b"], [digest("A b")[:8], digest("a/b")[:8]]),
    ],
)
def test_values_have_short_names_that_are_safe_in_a_files_name(smoke: Recipe, values: list[Any], labels: list[str]) -> None:
    case = court(modifications=[modification("axis", sweep={"training.phases.stable.mixture": values})])
    names = list(arms(case, smoke))[1:]
    assert names == [f"axis[{label}]" for label in labels]
    assert all(NAME.fullmatch(label) for label in labels)


def test_compensations_move_with_every_point(smoke: Recipe) -> None:
    fair = {"compensations": {"model.ffn_hidden_size": 200}, "why_compensated": "parameters"}
    case = court(modifications=[modification("kv", sweep={"model.num_key_value_heads": [1, 4]}, **fair)])
    found = arms(case, smoke)["kv[4]"]
    assert (found.point, found.changes) == (
        {"model.num_key_value_heads": 4},
        {"model.num_key_value_heads": 4, "model.ffn_hidden_size": 200},
    )
    assert run(case, found, smoke).model.ffn_hidden_size == 200


def test_a_run_is_the_recipe_with_one_short_phase(smoke: Recipe) -> None:
    case = court(final_fraction=0.1, layout={"micro_batch_size": 4, "data_parallel_size": 2})
    one = run(case, arms(case, smoke)["nope-off"], smoke, seed=7)
    (phase,) = one.training.phases
    own = smoke.training.phases[0]
    assert (one.training.seed, one.model.no_rope_every, one.evaluation) == (7, 0, case.evaluation)
    assert (phase.name, phase.tokens, phase.steps, phase.layout) == ("arm", 40_960, 40, Layout(micro_batch_size=4, data_parallel_size=2))
    assert (phase.mixture, phase.sequence_length, phase.global_batch_size) == (own.mixture, own.sequence_length, own.global_batch_size)
    assert (phase.schedule.shape, phase.schedule.learning_rate, phase.schedule.final_fraction) == ("linear", 5e-3, 0.1)
    assert (phase.schedule.warmup_steps, phase.checkpoint_every, phase.evaluate_every) == (2, 40, 8)


def test_warm_up_and_shape_are_the_phases_own_unless_the_court_says_so(smoke: Recipe) -> None:
    case = court(
        warmup_steps=None,
        shape="as_phase",
        before="decay",
        modifications=[modification("x", change={"training.phases.decay.schedule.shape": "cosine"})],
    )
    found = arms(case, smoke)
    assert run(case, found["baseline"], smoke).training.phases[-1].schedule == smoke.training.phases[1].schedule
    assert run(case, found["x"], smoke).training.phases[-1].schedule.shape == "cosine"
    assert run(court(warmup_steps=None), found["baseline"], smoke).training.phases[0].schedule.warmup_steps == 6


def test_a_long_run_has_checkpoints_on_its_way(smoke: Recipe) -> None:
    case = court(tokens=10_000 * 1024)
    (phase,) = run(case, arms(case, smoke)["baseline"], smoke).training.phases
    assert (phase.steps, phase.checkpoint_every, phase.evaluate_every) == (10_000, 2000, 2000)


def test_a_later_courts_arm_goes_on_from_the_phases_before_it(smoke: Recipe) -> None:
    case = court(before="decay", modifications=[modification("hot", change={"training.phases.decay.schedule.learning_rate": 1e-2})])
    one = run(case, arms(case, smoke)["hot"], smoke)
    assert one.training.phases[0] == smoke.training.phases[0]
    assert [phase.name for phase in one.training.phases] == ["stable", "arm"]
    assert one.training.phases[1].schedule.learning_rate == 1e-2


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"model.no_rope_every": 0}, "model.no_rope_every"),
        ({"training.optimizer.kind": "muon"}, "training.optimizer.kind"),
        ({RATE: 1e-3}, "training.phases.0.schedule.learning_rate"),
        ({"tokenizer.digits": "groups_of_three"}, "tokenizer.digits"),
    ],
)
def test_a_later_court_refuses_what_its_parent_was_trained_with(smoke: Recipe, change: dict[str, Any], named: str) -> None:
    case = court(before="decay", modifications=[modification("x", change=change)])
    with pytest.raises(ConfigError, match="'stable' was trained with") as refused:
        run(case, arms(case, smoke)["x"], smoke)
    assert named in refused.value.what


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"before": "decai"}, "did you mean 'decay'"),
        ({"tokens": 1024, "warmup_steps": None}, "never reaches its learning rate"),
        ({"modifications": [modification(change={"training.phases.stabel.tokens": 5})]}, "did you mean 'stable'"),
        ({"modifications": [modification(change={"training.phases.stable.tokns": 5})]}, "did you mean 'tokens'"),
    ],
)
def test_what_no_run_can_be_is_refused(smoke: Recipe, fields: dict[str, Any], said: str) -> None:
    case = court(**fields)
    with pytest.raises(ConfigError) as refused:
        run(case, list(arms(case, smoke).values())[-1], smoke)
    assert said in refused.value.what


def test_two_arms_of_one_name_are_refused(smoke: Recipe) -> None:
    case = court(modifications=[modification("learning-rate", change={"model.no_rope_every": 0})], template={"kind": "learning_rate"})
    found = list(arms(case, smoke))
    assert found[:2] == ["baseline", "learning-rate"] and len(set(found)) == len(found)
    repeated = court(modifications=[modification("rate", sweep={RATE: [1e-4, 1e-4]})])
    with pytest.raises(ConfigError, match="two arms"):
        arms(repeated, smoke)


def test_a_name_is_no_part_of_a_runs_identity(smoke: Recipe) -> None:
    one, two = court(), court(name="other", modifications=[modification("renamed", tolerance=0.5)])
    first, second = (run(case, list(arms(case, smoke).values())[1], smoke) for case in (one, two))
    assert identity(first) == identity(second)


def test_checkpoints_of_a_qualification_lengthen_one_constant_phase() -> None:
    tiny = load("tiny")
    asked = Qualification.parse({"tokens": 600_000, "checkpoints": 3, "evaluation": {"backend": "megatron"}})
    told = [tiny.override(qualification_overrides(asked, tiny.model_dump(mode="json"), 2, number)) for number in (1, 2, 3)]
    phases = [one.training.phases for one in told]
    assert [len(one) for one in phases] == [1, 1, 1]
    assert [one[0].tokens for one in phases] == [98 * 2048, 195 * 2048, 293 * 2048]
    assert {one[0].schedule.shape for one in phases} == {"constant"} and {one.training.seed for one in told} == {2}
    assert len({digest(identity(one[0].model_copy(update={"tokens": 1}))) for one in phases}) == 1


def test_a_variant_is_qualified_like_the_baseline() -> None:
    tiny = load("tiny")
    asked = Qualification.parse({"tokens": 600_000})
    variant = Modification.parse(modification())
    document = tiny.model_dump(mode="json")
    assert tiny.override(qualification_overrides(asked, document, 0, 5, variant)).model.no_rope_every == 0
    with pytest.raises(ConfigError, match="no checkpoint 6"):
        qualification_overrides(asked, document, 0, 6)
    with pytest.raises(ConfigError, match="is a sweep"):
        qualification_overrides(asked, document, 0, 1, Modification.parse(modification(sweep={RATE: [1.0]})))


TEMPLATES: list[dict[str, Any]] = [
    {"kind": "learning_rate"},
    {"kind": "learning_rate_x_batch"},
    {"kind": "mixture_ratio"},
    {"kind": "share"},
    {"kind": "annealing"},
    {"kind": "leave_one_out", "accepted": [modification(), modification("wd", change={"training.optimizer.weight_decay": 0.05})]},
    {"kind": "target_size", "accepted": [modification()], "model": {"num_layers": 4}},
]


@pytest.mark.parametrize(
    ("name", "template"),
    itertools.product(["smoke", "tiny", "smollm3-3b"], TEMPLATES),
    ids=lambda value: value if isinstance(value, str) else value["kind"],
)
def test_every_arm_of_every_template_is_a_recipe(name: str, template: dict[str, Any]) -> None:
    plain = load(name)
    later = template["kind"] == "annealing"
    phase = plain.training.phases[1 if later else 0]
    number = {"mixture_ratio": 2, "share": 1, "annealing": 2}.get(template["kind"], 0)
    told = court(
        tokens=100 * phase.tokens_per_step,
        before=phase.name if later else None,
        template=template | {"sources": list(phase.mixture)[:number]},
        layout=phase.layout.model_dump(mode="json"),
    )
    document = plain.model_dump(mode="json")
    found = expand(told, document)
    assert len(found) > 1 and found[0].name == "baseline"
    runs = {arm.name: plain.override(arm_overrides(arm, told, document, seed=1)) for arm in found}
    assert all(one.training.phases[-1].name == "arm" for one in runs.values())
    assert len({digest(identity(one)) for one in runs.values()}) == len(runs)
