"""The ablation section: what cannot be a court, a modification or a backlog."""

from __future__ import annotations

from typing import Any

import pytest

from contracts.config import digest, identity
from contracts.errors import ConfigError
from tasks.ablation.config import AblationsConfig, Backlog, Court, Modification, Qualification

ONE = {"name": "one", "hypothesis": "it is better", "change": {"model.num_layers": 4}}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"change": {}}, "either a change or a sweep"),
        ({"sweep": {"model.num_layers": [1]}}, "either a change or a sweep"),
        ({"change": {"model.num_layers": 4, "model.qk_norm": True}}, "changes 2 things (model.num_layers, model.qk_norm)"),
        ({"change": {}, "sweep": {"a": [1], "b": [1], "c": [1]}}, "sweeps over 3 fields"),
        ({"change": {}, "sweep": {"a": []}}, "over no values"),
        ({"compensations": {"model.ffn_hidden_size": 8}}, "why_compensated"),
        ({"name": "One"}, "lower-case"),
        ({"hypothesis": ""}, "hypothesis"),
        ({"tolerance": 0}, "tolerance"),
        ({"benefit": "fame"}, "benefit"),
        ({"tolerence": 1}, "did you mean 'tolerance'"),
    ],
)
def test_a_modification_that_is_none_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Modification.parse(ONE | fields)
    assert said in refused.value.what


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"modifications": []}, "tests nothing"),
        ({"modifications": [ONE, ONE]}, "two arms called 'one'"),
        ({"modifications": [ONE | {"name": "baseline"}]}, "two arms called 'baseline'"),
        ({"seeds": []}, "at least one seed"),
        ({"seeds": [1, 1]}, "each once"),
        ({"tokens": 10, "budget": {"minimum_tokens": 100}}, "asks for 100"),
        ({"tokens": 0}, "tokens"),
        ({"shape": "wsd"}, "shape"),
        ({"template": {"kind": "grid"}}, "kind"),
    ],
)
def test_a_court_that_is_none_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Court.parse({"tokens": 1000, "modifications": [ONE]} | fields)
    assert said in refused.value.what


def test_one_seed_is_allowed() -> None:
    assert Court.parse({"tokens": 1000, "modifications": [ONE], "seeds": [3]}).seeds == [3]


def test_sections_of_which_there_are_two_are_refused() -> None:
    case = {"tokens": 1000, "modifications": [ONE]}
    with pytest.raises(ConfigError, match="two courts are called 'main'"):
        AblationsConfig.parse({"courts": [case, case]})
    with pytest.raises(ConfigError, match="seeds"):
        Qualification.parse({"tokens": 1000, "seeds": [0]})


@pytest.mark.parametrize(
    ("items", "said"),
    [
        ([], "modifications"),
        ([ONE, ONE], "same name"),
        ([ONE | {"depends_on": ["two"]}], "depends on 'two', which is not in the backlog"),
        ([ONE | {"depends_on": ["one"]}], "depends on 'one'"),
        ([ONE | {"depends_on": ["two"]}, ONE | {"name": "two", "depends_on": ["one"]}], "wait for each other"),
    ],
)
def test_a_backlog_that_is_none_is_refused(items: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Backlog.parse({"modifications": items})
    assert said in refused.value.what


@pytest.mark.parametrize(
    ("fields", "same"),
    [
        ({"name": "renamed", "hypothesis": "said otherwise", "tolerance": 0.5, "benefit": "speed"}, True),
        ({"change": {"model.num_layers": 5}}, False),
        ({"compensations": {"model.ffn_hidden_size": 8}, "why_compensated": "parameters"}, False),
        ({"change": {}, "sweep": {"model.num_layers": [4]}}, False),
    ],
)
def test_a_modification_is_what_it_changes(fields: dict[str, Any], same: bool) -> None:
    assert (Modification.parse(ONE).digest == Modification.parse(ONE | fields).digest) is same


def test_budget_and_layout_are_no_part_of_a_courts_identity() -> None:
    case = {"tokens": 1000, "modifications": [ONE]}
    told = case | {"budget": {"device_hours": 5}, "layout": {"data_parallel_size": 2}, "parallel": 3}
    assert digest(identity(Court.parse(case))) == digest(identity(Court.parse(told)))
    assert digest(identity(Court.parse(case))) != digest(identity(Court.parse(case | {"tokens": 2000})))
