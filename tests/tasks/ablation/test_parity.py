"""Fair sizes: what is measured, what is proposed, and when a declared compensation misses."""

from __future__ import annotations

from typing import Any

import pytest

from models.config import ModelConfig
from models.count import parameters
from models.layout import Layout
from tasks.ablation.arms import Arm
from tasks.ablation.config import Modification
from tasks.ablation.parity import TOLERANCE, Parity, parity

ONE_RANK = Layout()
TP8 = Layout(tensor_parallel_size=8)


def compared(preset: str, layout: Layout = ONE_RANK, compensations: dict[str, Any] | None = None, **change: Any) -> Parity:
    factor = {f"model.{name}": value for name, value in change.items()}
    fair = {"compensations": {f"model.{k}": v for k, v in compensations.items()}, "why_compensated": "parameters"} if compensations else {}
    told = Modification.parse({"name": "x", "hypothesis": "h", "change": factor, **fair})
    baseline = ModelConfig.preset(preset)
    return parity(Arm("x", told, factor), baseline, ModelConfig.preset(preset, **change, **(compensations or {})), layout, 256)


def test_equal_models_need_nothing() -> None:
    same = compared("tiny", no_rope_every=0)
    assert (same.parameter_difference, same.flops_difference, same.proposal, same.warning) == (0.0, 0.0, {}, "")


def test_a_small_difference_passes_unsaid() -> None:
    assert compared("ablation-1b", num_key_value_heads=4).warning == ""  # 1.7 % fewer


@pytest.mark.parametrize(
    ("preset", "change"),
    [
        ("tiny", {"tie_embeddings": False}),
        ("tiny", {"num_key_value_heads": 4}),
        ("tiny", {"num_layers": 6}),
        ("tiny", {"hidden_size": 192}),
        ("ablation-1b", {"num_key_value_heads": 32}),
        ("ablation-1b", {"tie_embeddings": False}),
        ("smollm3-3b", {"num_key_value_heads": 16}),
    ],
    ids=str,
)
def test_a_proposal_restores_the_parameters(preset: str, change: dict[str, Any]) -> None:
    found = compared(preset, **change)
    fields = {path.removeprefix("model."): value for path, value in found.proposal.items()}
    restored = parameters(ModelConfig.preset(preset, **change, **fields)) / parameters(ModelConfig.preset(preset)) - 1
    assert fields and abs(restored) <= TOLERANCE < abs(found.parameter_difference)
    assert f"{restored:+.1%}" in found.warning
    assert compared(preset, compensations=fields, **change).proposal == {}


def test_depth_is_proposed_beside_width_as_the_playbook_did() -> None:
    assert 'compensations {"model.num_layers": 12}' in compared("ablation-1b", tie_embeddings=False).warning


def test_a_width_can_be_split_as_the_layout_asks() -> None:
    assert compared("tiny", TP8, tie_embeddings=False).proposal["model.ffn_hidden_size"] % 8 == 0
    three = compared("ablation-1b", Layout(tensor_parallel_size=3), tie_embeddings=False)
    assert three.proposal["model.ffn_hidden_size"] % 3 == 0
    assert compared("ablation-1b", Layout(pipeline_parallel_size=4), ffn_hidden_size=11008).proposal == {"model.num_layers": 12}


def test_the_factor_itself_never_gives_way() -> None:
    assert set(compared("ablation-1b", ffn_hidden_size=11008).proposal) == {"model.num_layers"}
    assert set(compared("tiny", num_layers=6).proposal) == {"model.ffn_hidden_size"}


def test_where_nothing_fits_it_is_said() -> None:
    found = compared("tiny", ffn_hidden_size=2048)
    assert found.proposal == {} and "neither ffn_hidden_size nor num_layers" in found.warning


def test_a_declared_compensation_that_misses_is_named() -> None:
    found = compared("tiny", compensations={"ffn_hidden_size": 320}, tie_embeddings=False)
    assert "in spite of its compensations (model.ffn_hidden_size)" in found.warning
    assert found.proposal == {"model.ffn_hidden_size": 216}


def test_work_is_compared_beside_size() -> None:
    found = compared("tiny", compensations={"ffn_hidden_size": 216}, tie_embeddings=False)
    assert found.proposal == {} and found.flops_difference == pytest.approx(-0.219, abs=1e-3)
    assert "21.9% fewer FLOPs per token" in found.warning
