"""A line with a long-context phase merges nothing without measuring recall."""

from __future__ import annotations

import pytest

from tasks.merging import recall_problems, unmeasured
from tasks.merging.config import MergingConfig
from tasks.posttraining.config import ChatEvaluation

EVALUATION = ChatEvaluation(skills=["add"], tasks=["recall_64", "gsm_plus", "ruler"])


def merging(required: list[str]) -> MergingConfig:
    inputs = [{"stage": "a", "weight": 0.9}, {"stage": "b", "weight": 0.1}]
    return MergingConfig.parse({"candidates": [{"name": "soup", "inputs": inputs}], "required_tasks": required})


@pytest.mark.parametrize(
    ("lengths", "required", "said"),
    [
        ([4096, 32_768, 65_536], ["add"], "asks for no recall"),
        ([4096, 65_536], ["add", "recall_64"], "recall over no more than 64"),
        ([4096, 65_536], ["add", "ruler"], None),
        ([4096, 65_536], ["ruler/no_think"], None),
        ([4096, 65_536], [], None),  # everything that is measured decides
        ([256, 256], ["add"], None),
        ([], [], None),
    ],
)
def test_recall_is_required_where_the_context_grows(lengths: list[int], required: list[str], said: str | None) -> None:
    problems = recall_problems(merging(required), EVALUATION, lengths)
    assert len(problems) == (said is not None) and all(said in one and "65,536" in one for one in problems if said)


def test_a_task_that_is_not_asked_is_no_recall() -> None:
    blind = ChatEvaluation(skills=["add"])
    assert recall_problems(merging([]), blind, [4096, 65_536]) and recall_problems(merging(["ruler"]), blind, [4096, 65_536])


def test_what_is_required_must_be_a_skill_or_a_task_or_one_of_its_modes() -> None:
    named = ["add", "add/think", "gsm_plus", "gsm_plus/think", "ruler/no_think", "recall_64", "ruler/think", "recall_64/think", "aime25"]
    assert unmeasured(merging(named), EVALUATION) == ["ruler/think", "recall_64/think", "aime25"]
