"""Changing one field re-runs exactly what depends on it: every leaf of a recipe is walked."""

from __future__ import annotations

import re
from typing import Any

import pytest

from contracts.config import leaves
from contracts.errors import ConfigError, SmolflowError
from flows import court
from flows.dag import dag
from flows.recipe import Recipe, load

EVERYTHING = [
    "source",
    "curate",
    "tokenizer",
    "tokenize",
    "train-stable",
    "train-decay",
    "train-reasoning",
    "convert",
    "evaluate",
    "report",
]


def onwards(stage: str) -> set[str]:
    """`stage` and all that hangs on it. curate feeds everything after it, tokenize does not feed tokenizer."""
    return set(EVERYTHING[EVERYTHING.index(stage) :])


# (pattern of the leaf's path, stages that must re-run); the first match counts
EXPECTED: list[tuple[str, set[str]]] = [
    (r"purpose\.(budget|epochs)", set()),
    (r"(name$|purpose\.|waivers|posttraining|merging|ablations)", {"report"}),
    (r"data\.sources\.\d+\.name$", onwards("source")),
    (r"data\.sources\.\d+\.published_", set()),
    (r"data\.sources\.\d+\.path$", set()),
    (
        r"data\.sources\.\d+\.(kind|collection|packages|text_column|subset|split|revision|licence|max_bytes|skills|seed)(\.|$)",
        onwards("source"),
    ),
    (r"data\.sources\.\d+\.", onwards("curate")),
    (r"data\.tokenize\.(processes|threads)", set()),
    (r"data\.tokenize\.", onwards("tokenize")),
    (r"data\.", onwards("curate")),
    (r"tokenizer\.(min_bytes_per_token|max_fertility)", set()),
    (r"tokenizer\.", onwards("tokenizer")),
    (r"model\.|training\.(seed|optimizer)", onwards("train-stable")),
    (r"training\.phases\.\d\.(layout|checkpoint_every|evaluate_every|evaluation_sequences|log_every)", set()),
    (r"training\.phases\.0\.", onwards("train-stable")),
    (r"training\.phases\.1\.", onwards("train-decay")),
    (r"training\.phases\.2\.", onwards("train-reasoning")),
    (r"conversion\.(dtype|heldout_tokens|greedy_tokens)$", onwards("convert")),
    (r"conversion\.", set()),
    (r"evaluation\.(batch_size|run_generated_code|every_checkpoint)", set()),
    (r"evaluation\.", onwards("evaluate")),
]


def changed(value: Any) -> list[Any]:
    """Other values of a leaf's type, one of which the recipe should accept."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 128, value * 2, value + 1, value - 1, 1]
    if isinstance(value, float):
        return [value * 0.75, value * 1.25, value + 0.01]
    if value is None:
        return [1, 0.5, "changed", ["mlflow"], ["torch"], {}]
    if isinstance(value, str):
        return [*CHOICES.get(value, []), value + "x"]
    return [[*value, "torch"], [*value, "mlflow"]] if isinstance(value, list) else [{**value, "extra": 1.0}]


CHOICES = {
    "float32": ["bfloat16"], "single": ["groups_of_three"], "token": ["text"], "none": ["full"],
    "muon": ["adamw"], "adamw": ["muon"], "scaled": ["plain"], "plain": ["scaled"],
    "constant": ["cosine"], "linear": ["constant", "cosine"], "one_minus_sqrt": ["linear"],
    "prose": ["code"], "code": ["prose"], "math": ["prose"], "research": ["production"], "cpu": ["h100"],
}  # fmt: skip
"""Other values of the choices that a recipe offers."""


def fingerprints(recipe: Recipe) -> dict[str, str]:
    """Of every stage but courts, whose verdicts are taken to accept nothing."""
    plan = dag(recipe, decided=lambda court: [])
    return {node.name: node.fingerprint for node in plan if node.kind is not court.KIND}


def variants(recipe: Recipe, path: str, value: Any) -> Recipe | None:
    """The recipe with this leaf changed to the first value it accepts; None where no single change is valid (a mixture's shares...)."""
    for other in changed(value):
        try:
            candidate = recipe.override([f"{path}={_yaml(other)}"])
            fingerprints(candidate)
            return candidate
        except SmolflowError:
            continue
    return None


def _yaml(value: Any) -> str:
    import json

    return json.dumps(value)


def test_every_leaf_reruns_exactly_what_depends_on_it() -> None:
    recipe = load("tiny", ["ablations={}", "posttraining=null", "merging=null"])
    before = fingerprints(recipe)
    assert list(before) == EVERYTHING
    walked, wrong = 0, []
    for path, value in leaves(recipe.model_dump(mode="json")):
        other = variants(recipe, path, value)
        if other is None or other == recipe:
            continue
        walked += 1
        after = fingerprints(other)
        rerun = {name for name in EVERYTHING if before[name] != after.get(name)}
        expected = next((stages for pattern, stages in EXPECTED if re.match(pattern, path)), None)
        if rerun != expected:
            wrong.append(f"{path}: re-runs {sorted(rerun)}, expected {sorted(expected) if expected is not None else 'a rule'}")
    assert not wrong, "\n".join(wrong)
    assert walked > 80, "too few leaves could be changed for this test to mean anything"


def test_another_court_decides_anew_and_trains_nothing_again_unless_it_decides_otherwise() -> None:
    recipe = load("tiny")
    other = recipe.override(["ablations.courts.main.tokens=204_800"])
    courts = [dag(one).node("court-main").fingerprint for one in (recipe, other)]
    before, after = fingerprints(recipe), fingerprints(other)
    assert courts[0] != courts[1]
    assert {name for name in before if before[name] != after[name]} == {"report"}


@pytest.mark.parametrize("change", ["parallel=1", "layout.micro_batch_size=4", "budget.device_hours=5", "evaluation.batch_size=2"])
def test_where_a_court_runs_and_what_it_may_cost_is_no_part_of_it(change: str) -> None:
    recipe = load("tiny")
    other = recipe.override([f"ablations.courts.main.{change}"])
    assert dag(recipe).node("court-main").fingerprint == dag(other).node("court-main").fingerprint


def test_mixture_change_reruns_from_its_phase() -> None:
    recipe = load("tiny", ["posttraining=null", "merging=null"])
    shares = dict(recipe.training.phases[1].mixture)
    first, second = list(shares)[:2]
    shares[first], shares[second] = shares[first] + 0.05, shares[second] - 0.05
    other = recipe.override([f"training.phases.1.mixture={_yaml(shares)}"])
    before, after = fingerprints(recipe), fingerprints(other)
    assert {name for name in before if before[name] != after[name]} == onwards("train-decay")


BRANCH = {"preference-main", "measure-preference-main", "merge", "measure-release", "vibe", "release", "report"}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("posttraining.preference.main.schedule.learning_rate=2.0e-4", BRANCH),  # the pairs stay
        ("posttraining.preference.main.pairs.samples=4", BRANCH | {"pairs-main"}),
        ("posttraining.preference.main.max_regression=0.5", set()),
        ("posttraining.preference.main.placement.micro_batch_size=8", set()),
        ("merging.seed=1", {"merge", "measure-release", "vibe", "release", "report"}),
        ("posttraining.preference.main.max_cell_regression=0.5", set()),
        ("posttraining.preference.main.max_bits_regression=0.5", set()),
        ("posttraining.evaluation.min_format=0.5", set()),
        ("merging.max_regression=0.5", set()),
        ("merging.max_cell_regression=0.5", set()),
    ],
)
def test_a_change_after_pretraining_reruns_its_own_branch(change: str, expected: set[str]) -> None:
    recipe = load("tiny")
    before, after = fingerprints(recipe), fingerprints(recipe.override([change]))
    assert {name for name in before if before[name] != after[name]} == expected


def test_chat_data_depends_on_the_tasks_it_was_held_against() -> None:
    """One without tasks is the one it was before there was such a check."""
    plain = load("tiny", ["ablations={}"])
    asked = [("[]", 20), ("[boolq]", 20), ("[boolq]", 9), ("[copying]", 20), ("[copying]", 9)]
    chat = [
        dag(plain.override([f"posttraining.evaluation.tasks={tasks}", f"posttraining.evaluation.task_items={items}"])).node("chat")
        for tasks, items in asked
    ]
    assert "tasks" not in chat[0].hashed and chat[0].fingerprint == dag(plain).node("chat").fingerprint
    assert chat[1].hashed["tasks"] == {"boolq": {"suite": "smollm3_base", "version": 1, "items": None}}
    assert chat[1].fingerprint == chat[2].fingerprint, "of a benchmark every item counts, however many are asked"
    assert len({node.fingerprint for node in chat}) == 4


def test_text_beside_generated_skills_is_cleared_of_their_items_and_other_text_is_what_it_was() -> None:
    skills = dag(load("tiny")).node("curate").hashed
    assert skills["heldout_skills"] == ["add", "reverse"] and "heldout_skills" not in dag(load("smoke-post")).node("curate").hashed


def test_a_distilled_model_depends_on_its_teacher() -> None:
    recipe = load("smoke-distill")
    other = recipe.override(["posttraining.reinforcement.main.learning_rate=1.0e-5"])
    before, after = fingerprints(recipe), fingerprints(other)
    changed = {name for name in before if before[name] != after[name]}
    assert {"reinforcement-main", "distillation-main", "measure-distillation-main"} <= changed and "preference-main" not in changed


def test_pairs_depend_on_the_strong_model_that_is_named() -> None:
    recipe = load("tiny")
    one = recipe.override(["posttraining.preference.main.pairs.strong=pretrained"])
    node = dag(one, decided=lambda court: []).node("pairs-main")
    assert "strong" in node.inputs and "strong" not in dag(recipe, decided=lambda court: []).node("pairs-main").inputs
    judged = recipe.override(["posttraining.preference.main.pairs.judge={url: 'http://localhost:8000'}"])
    seconds = judged.override(["posttraining.preference.main.pairs.judge.seconds=9"])
    prints = [fingerprints(each)["pairs-main"] for each in (recipe, one, judged, seconds)]
    assert len(set(prints)) == 3 and prints[2] == prints[3]


def test_longer_stable_phase_keeps_its_workspace() -> None:
    recipe = load("tiny")
    longer = recipe.override([f"training.phases.0.tokens={recipe.training.phases[0].tokens * 2}"])
    before, after = dag(recipe, decided=lambda court: []).node("train-stable"), dag(longer, decided=lambda court: []).node("train-stable")
    assert before.fingerprint != after.fingerprint
    assert before.workspace_key == after.workspace_key


def test_longer_decay_phase_opens_another_workspace() -> None:
    recipe = load("tiny")
    longer = recipe.override([f"training.phases.1.tokens={recipe.training.phases[1].tokens * 2}"])
    assert (
        dag(recipe, decided=lambda court: []).node("train-decay").workspace_key
        != dag(longer, decided=lambda court: []).node("train-decay").workspace_key
    )


def test_explicit_default_equals_unset() -> None:
    recipe = load("smoke")
    assert fingerprints(recipe) == fingerprints(recipe.override([f"model.rms_norm_eps={recipe.model.rms_norm_eps}"]))


def test_unknown_stage_is_refused_with_the_names() -> None:
    with pytest.raises(ConfigError, match="train-stable"):
        dag(load("tiny")).node("pretrain")
