from __future__ import annotations

from typing import Any

import pytest

from tasks.data import data_problems, tokenizer_problems
from tasks.data.config import TokenizerConfig
from tests.tasks.data.conftest import Line

ROW = {"documents": 90, "bytes": 900, "heldout_documents": 10, "heldout_bytes": 50, "contaminated": 1, "bytes_in": 1000}
FIT = {"bytes_per_token": 3.0, "fertility": 2.0}


def test_a_good_run_opens_both_gates(line: Line) -> None:
    assert data_problems(line.summaries["curate"].evidence) == []
    assert tokenizer_problems(line.summaries["tokenizer"].evidence, line.tokenizer) == []
    assert data_problems({"sources": {"web": ROW}}) == [] and tokenizer_problems({"sources": {"web": FIT}}, TokenizerConfig()) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"documents": 0}, "no document is left"),
        ({"heldout_documents": 0, "contaminated": 5}, "all 5 held-out items share"),
        ({"heldout_documents": 2, "contaminated": 5}, "5 of 7 held-out items share"),
        ({"heldout_documents": 0, "contaminated": 0}, "nothing is held out"),
        ({"bytes": 10, "heldout_bytes": 1}, "removed more than"),
    ],
)
def test_data_gate_refuses(change: dict[str, Any], said: str) -> None:
    (problem,) = data_problems({"sources": {"good": ROW, "web": ROW | change}})
    assert problem.startswith("web: ") and said in problem


@pytest.mark.parametrize(("change", "said"), [({"bytes_per_token": 1.2}, "1.20 bytes a token"), ({"fertility": 7.5}, "7.50 tokens a word")])
def test_fertility_gate_refuses(change: dict[str, float], said: str) -> None:
    (problem,) = tokenizer_problems({"sources": {"good": FIT, "web": FIT | change}}, TokenizerConfig())
    assert problem.startswith("web: ") and said in problem
