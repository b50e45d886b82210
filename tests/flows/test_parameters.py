"""The form of the Prefect UI: every parameter of every flow has a title, a description and a default, and bad input is refused there."""

from __future__ import annotations

from typing import Any

import pytest
from prefect.exceptions import ParameterTypeError
from prefect.flows import Flow
from prefect.utilities.callables import parameter_schema

from flows.dag import dag
from flows.playbook import playbook
from flows.recipe import load
from flows.stages import STAGES
from infra.site import STAGE_KINDS

FLOWS: dict[str, Flow[..., Any]] = {"playbook": playbook, **STAGES}


def test_there_is_a_flow_for_every_kind_of_stage() -> None:
    assert tuple(STAGES) == STAGE_KINDS
    assert all(name == flow.name for name, flow in FLOWS.items())


@pytest.mark.parametrize("name", FLOWS)
def test_every_parameter_has_title_description_and_default(name: str) -> None:
    schema = parameter_schema(FLOWS[name]).model_dump_for_openapi()
    fields = schema["properties"]
    expected = ["recipe", "overrides", "pool", "inputs"] + ([] if name == "playbook" else ["stage"])
    assert list(fields) == expected
    assert not schema.get("required")
    for parameter, field in fields.items():
        assert field["title"][0].isupper(), parameter
        assert len(field["description"].split()) > 4, f"{parameter}: the form would not explain it"
        assert "default" in field, parameter
    example = load(fields["recipe"]["default"])
    # No model that was trained for seconds is ever right, so pairs of its own answers begin with `tiny`.
    assert example.name.startswith("smoke") or name == "pairs", "what a form offers takes seconds"
    assert name == "playbook" or any(node.kind.name == name for node in dag(example)), "the example has no such stage"


@pytest.mark.parametrize("name", FLOWS)
def test_every_flow_says_what_it_does(name: str) -> None:
    assert len((FLOWS[name].description or "").split()) > 4


@pytest.mark.parametrize("recipe", ["/etc/passwd", "../secret.yaml", "", "smoke; rm", "http://host/recipe"])
def test_a_recipe_is_a_name_or_a_reference_never_a_path_or_command(recipe: str) -> None:
    with pytest.raises(ParameterTypeError):
        playbook.validate_parameters({"recipe": recipe, "overrides": [], "pool": "cpu", "inputs": {}})


def test_a_published_recipe_is_taken() -> None:
    given = {"recipe": "store:recipe/0123abcd", "overrides": ["training.seed=7"], "pool": "cpu", "inputs": {}}
    assert playbook.validate_parameters(given) == given
