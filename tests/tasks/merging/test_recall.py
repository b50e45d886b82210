"""A line with a long-context phase merges nothing without measuring recall."""

from __future__ import annotations

import pytest

from tasks.merging import recall_problems
from tasks.merging.config import MergingConfig


@pytest.mark.parametrize(
    ("lengths", "required", "refused"),
    [
        ([4096, 32_768, 65_536], ["add"], True),
        ([4096, 32_768, 65_536], [], True),
        ([4096, 65_536], ["add", "ruler"], False),
        ([4096, 65_536], ["niah_multikey"], False),
        ([256, 256], ["add"], False),
        ([], [], False),
    ],
)
def test_recall_is_required_where_the_context_grows(lengths: list[int], required: list[str], refused: bool) -> None:
    inputs = [{"stage": "a", "weight": 0.9}, {"stage": "b", "weight": 0.1}]
    config = MergingConfig.parse({"candidates": [{"name": "soup", "inputs": inputs}], "required_tasks": required})
    assert [("65,536" in one, "ruler" in one) for one in recall_problems(config, lengths)] == [(True, True)] * refused
