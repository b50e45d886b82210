from __future__ import annotations

import pytest
from pydantic import ValidationError

from flows import recipe
from tasks.evaluation import recommend_formulation, recommended_samples
from tasks.evaluation.offline import GENERATORS
from tasks.evaluation.pairs import BUILDERS
from tasks.evaluation.suites import SuiteTask, find

SUITES = ["bits_per_byte", "offline", "ablation", "smollm3_base", "post_training", "long_context"]


def test_every_task_of_the_offline_suite_has_a_builder() -> None:
    tasks = find("offline", 1).tasks
    assert {name for name, task in tasks.items() if task.source == "heldout"} == set(BUILDERS)
    assert {name for name, task in tasks.items() if task.source == "generated"} == set(GENERATORS)


@pytest.mark.slow  # lm-eval indexes all its tasks
def test_every_other_task_is_one_of_lm_evals() -> None:
    from lm_eval.tasks import TaskManager

    known = set(TaskManager().all_tasks)
    for suite in SUITES:
        for name, task in find(suite, 1).tasks.items():
            for spec in task.harness.values():
                names = [] if isinstance(spec, dict) else [spec] if isinstance(spec, str) else spec
                assert set(names) <= known, (suite, name)


def test_the_playbooks_lists_are_there() -> None:
    ablation = find("ablation", 1)
    assert list(ablation.tasks) == [
        "mmlu", "arc", "hellaswag", "winogrande", "commonsense_qa", "openbookqa", "piqa", "gsm8k", "humaneval",
    ]  # fmt: skip
    assert {task.items for task in ablation.tasks.values() if task.formulation == "cloze"} == {1000}
    base = find("smollm3_base", 1)
    assert base.tasks["gsm8k"].few_shot == 5 and base.tasks["math"].few_shot == 4
    assert find("post_training", 1).tasks["aime25"].samples == "recommended"


def test_letters_are_chosen_only_for_tasks_that_have_them() -> None:
    letters = find("ablation", 1).choose([], "multiple_choice")
    assert list(letters.tasks) == ["mmlu", "commonsense_qa"] and letters.tasks["mmlu"].metric == "acc"
    with pytest.raises(ValueError, match="cannot be put as multiple_choice"):
        find("ablation", 1).choose(["piqa"], "multiple_choice")


def test_task_that_cannot_run_is_refused() -> None:
    with pytest.raises(ValidationError, match="has no task of lm-eval"):
        SuiteTask(harness={"cloze": "piqa"}, formulation="generation")
    with pytest.raises(ValidationError, match="need a generated answer"):
        SuiteTask(source="heldout", samples=4)


@pytest.mark.parametrize("name", recipe.names())
def test_every_built_in_recipe_names_a_suite_that_there_is(name: str) -> None:
    evaluation = recipe.load(name).evaluation
    assert evaluation.chosen_suite().version == evaluation.suite_version


@pytest.mark.parametrize(
    ("parameters", "tokens", "expected"),
    [
        (750_000, 200_000, "cloze"),
        (1_700_000_000, 5_900_000_000_000, "cloze"),
        (1_700_000_000, 6_100_000_000_000, "multiple_choice"),
        (7_000_000_000, 490_000_000_000, "cloze"),
        (7_000_000_000, 510_000_000_000, "multiple_choice"),
        (3_000_000_000, 11_000_000_000_000, "multiple_choice"),
        (3_000_000_000, 100_000_000_000, "cloze"),
        (3_000_000_000, 0, "cloze"),
    ],
)
def test_formulation_follows_size_and_tokens(parameters: int, tokens: int, expected: str) -> None:
    found = recommend_formulation(parameters, tokens)
    assert found.formulation == expected and found.reason


def test_post_trained_models_write_their_answers() -> None:
    assert recommend_formulation(3_000_000_000, 0, post_trained=True).formulation == "generation"


@pytest.mark.parametrize(("items", "samples"), [(30, 64), (100, 16), (198, 8), (541, 4), (1999, 1), (2400, 1), (1, 64)])
def test_samples_of_an_item_as_in_the_playbook(items: int, samples: int) -> None:
    assert recommended_samples(items) == samples
