from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from contracts.config import identity
from contracts.errors import InputError, StageError
from models import huggingface, weights
from tasks.conversion import export
from tasks.conversion.config import ConversionConfig
from tasks.conversion.heldout import sequences
from tasks.conversion.parity import check, rounding
from tasks.conversion.reference import round_weights
from tasks.conversion.tokenizer_files import TokenIds
from tests.tasks.conversion.material import build_chunk, edit_json, export_chunk, model_of

GREEDY = 8


@pytest.fixture(scope="module")
def heldout(curated: Path, tokenizer: Path) -> list[list[int]]:
    return sequences(curated, tokenizer, tokens=512, length=128)


@pytest.mark.parametrize(
    "changes",
    [{"no_rope_every": 0, "tie_embeddings": False}, {"no_rope_every": 0, "qk_norm": True, "head_dim": 32}, {"no_rope_every": 3}],
    ids=["llama-untied", "qwen3", "smollm3-every-third"],
)
def test_every_architecture_passes_the_gate(changes: dict[str, Any], tokenizer: Path, heldout: list[list[int]], tmp_path: Path) -> None:
    model = model_of(**changes)
    exported = export_chunk(build_chunk(model), model, tokenizer, heldout, tmp_path / "model", "float32")
    assert [c.said() for c in check(exported.folder, exported.reference, ConversionConfig().parity, GREEDY).failed] == []


def test_bfloat16_export_equals_the_rounded_model_and_tells_what_rounding_costs(
    tokenizer: Path, heldout: list[list[int]], tmp_path: Path
) -> None:
    model, config = model_of(), ConversionConfig(dtype="bfloat16")
    chunk = build_chunk(model)
    exported = export_chunk(chunk, model, tokenizer, heldout, tmp_path / "model", config.dtype)
    cost = {c.name: c for c in rounding(exported.folder, exported.reference, config.rounding)}
    assert all(c.passed for c in cost.values()) and cost["rounding: KL divergence in nats"].value > config.parity.max_kl
    assert {c.name for c in check(exported.folder, exported.reference, config.parity, GREEDY).failed} >= {
        "embedding rows",
        "KL divergence in nats",
    }
    round_weights(chunk, torch.bfloat16)
    assert [c.said() for c in check(exported.folder, exported.reference, config.parity, GREEDY).failed] == []
    edit_json(exported.folder / "config.json", no_rope_layers=[1, 1, 1, 1])
    failed = {c.name for c in check(exported.folder, exported.reference, config.parity, GREEDY).failed}
    assert failed >= {"config.json", "KL divergence in nats", "largest logit difference"}


def test_weights_cut_into_files_are_the_same_weights(tokenizer: Path, heldout: list[list[int]], tmp_path: Path) -> None:
    model, ids = model_of(), TokenIds.of(tokenizer)
    chunk = build_chunk(model)
    whole = export_chunk(chunk, model, tokenizer, heldout, tmp_path / "whole", "float32")
    cut = tmp_path / "cut"
    shapes = huggingface.shapes(model)
    config, generation = export.config_json(huggingface.config(model), ids, "float32"), export.generation_config_json(ids)
    export.write(cut, config, generation, weights.export([chunk], model), shapes, tokenizer, shard_bytes=200_000)
    index = json.loads((cut / "model.safetensors.index.json").read_text())
    files = sorted(set(index["weight_map"].values()))
    assert len(files) > 2 and all((cut / file).stat().st_size < 210_000 for file in files)
    expected = load_file(whole.folder / "model.safetensors")
    assert index["metadata"]["total_size"] == sum(t.nbytes for t in expected.values())
    for name, tensor in expected.items():
        assert torch.equal(load_file(cut / index["weight_map"][name])[name], tensor)
    assert not check(cut, whole.reference, ConversionConfig().parity, GREEDY).failed


def test_tensor_out_of_place_is_refused(tokenizer: Path, tmp_path: Path) -> None:
    shapes = {"a": (2, 2), "b": (3,)}
    config, generation = {"dtype": "float32"}, {}
    for tensors in ([("a", torch.zeros(2, 2))], [("a", torch.zeros(2, 2)), ("b", torch.zeros(4))], [("b", torch.zeros(3))]):
        with pytest.raises(StageError, match="belongs"):
            export.write(tmp_path / "model", config, generation, tensors, shapes, tokenizer)


def test_no_text_to_compare_on_is_refused(curated: Path, tokenizer: Path, tmp_path: Path) -> None:
    (tmp_path / "heldout").mkdir()
    with pytest.raises(InputError, match="held-out"):
        sequences(tmp_path, tokenizer, tokens=100, length=64)


def test_pieces_of_held_out_text_are_as_long_as_asked(curated: Path, tokenizer: Path) -> None:
    pieces = sequences(curated, tokenizer, tokens=1000, length=64)
    assert max(map(len, pieces)) == 64 and min(map(len, pieces)) >= 32 and 900 <= sum(map(len, pieces)) <= 1000


def test_tokenizer_without_an_end_is_refused(tokenizer: Path, tmp_path: Path) -> None:
    for file in tokenizer.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        edit_json(tmp_path / name, eos_token=None)
    with pytest.raises(InputError, match="ends a text"):
        TokenIds.of(tmp_path)


def test_precision_and_how_much_is_compared_are_the_identity_and_bounds_are_not() -> None:
    assert identity(ConversionConfig()) == {"dtype": "float32", "heldout_tokens": 2048, "greedy_tokens": 32}
