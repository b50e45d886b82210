"""Muon against torch's own, and its split of fused matrices."""

from __future__ import annotations

import pytest
import torch

from models.config import ModelConfig
from tasks.training.muon import MuonAdamW, orthogonalise, parts

MODEL = ModelConfig.preset("tiny")
SETTINGS = {"betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": 0.1, "momentum": 0.95}


@pytest.mark.parametrize("shape", [(64, 64), (32, 96), (96, 32)])
def test_orthogonalised_matrices_have_singular_values_near_one(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    found = torch.linalg.svdvals(orthogonalise(torch.randn(shape)))
    assert found.max() < 1.3
    assert found.quantile(0.05) > 0.6, "a square random matrix has single values near 0, which five iterations do not lift"


def run(make: object, parameter: torch.nn.Parameter, steps: int = 4) -> torch.Tensor:
    torch.manual_seed(1)
    optimizer = make([parameter])  # type: ignore[operator]
    for _ in range(steps):
        parameter.grad = torch.randn_like(parameter)
        optimizer.step()
    return parameter.detach()


def matrix(shape: tuple[int, int]) -> torch.nn.Parameter:
    torch.manual_seed(2)
    return torch.nn.Parameter(torch.randn(shape))


@pytest.mark.parametrize("shape", [(64, 64), (32, 96), (96, 32)])
def test_a_matrix_moves_as_torchs_muon_moves_it(shape: tuple[int, int]) -> None:
    mine, theirs = matrix(shape), matrix(shape)
    mine.muon_parts = lambda w: [w]  # type: ignore[attr-defined]
    run(lambda ps: MuonAdamW([{"params": ps}], 1e-2, **SETTINGS), mine)  # type: ignore[arg-type]
    run(lambda ps: torch.optim.Muon(ps, lr=1e-2, weight_decay=0.1, momentum=0.95, nesterov=True, adjust_lr_fn="match_rms_adamw"), theirs)
    moved = (theirs - matrix(shape)).norm()
    assert (mine - theirs).norm() / moved < 0.02, "torch iterates in bfloat16, hence the tolerance"


def test_the_rest_moves_as_torchs_adamw_moves_it() -> None:
    mine, theirs = matrix((8, 8)), matrix((8, 8))
    run(lambda ps: MuonAdamW([{"params": ps}], 1e-2, **SETTINGS), mine)  # type: ignore[arg-type]
    run(lambda ps: torch.optim.AdamW(ps, lr=1e-2, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1), theirs)
    torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)


def test_fused_matrices_are_cut_into_their_own() -> None:
    heads, groups, d, h = MODEL.num_attention_heads, MODEL.num_key_value_heads, MODEL.kv_channels, MODEL.hidden_size
    split = parts("decoder.layers.0.self_attention.linear_qkv.weight", MODEL)
    assert split is not None
    weight = torch.arange((heads + 2 * groups) * d * h, dtype=torch.float32).view(-1, h)
    query, key, value = split(weight)
    per_group = (heads // groups + 2) * d
    assert query.shape == (groups, heads // groups * d, h) and key.shape == value.shape == (groups, d, h)
    assert torch.equal(key[1], weight[per_group + heads // groups * d : per_group + heads // groups * d + d])
    key.zero_()
    assert (weight == 0).all(dim=1).sum() == groups * d, "the pieces are views of the whole"
    gate_up = parts("decoder.layers.0.mlp.linear_fc1.weight", MODEL)
    assert gate_up is not None and [tuple(p.shape) for p in gate_up(torch.zeros(6, 4))] == [(3, 4), (3, 4)]


@pytest.mark.parametrize(
    "name",
    [
        "embedding.word_embeddings.weight",
        "output_layer.weight",
        "decoder.final_layernorm.weight",
        "decoder.layers.0.input_layernorm.weight",
    ],
)
def test_embeddings_output_and_norms_are_adamws(name: str) -> None:
    assert parts(name, MODEL) is None
