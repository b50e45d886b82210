"""Real merges of tiny models: the arithmetic, what a merge takes from whom, and repeatability."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from contracts.errors import StageError
from tasks.merging.anatomy import Anatomy, dissect
from tasks.merging.config import NEEDS_BASE, Candidate, MergingConfig
from tasks.merging.merge import merge
from tests.tasks.merging.material import tensors

METHODS = ("linear", "slerp", *NEEDS_BASE)


def made(method: str, parents: dict[str, Anatomy], out: Path, seed: int = 0, output: str = "float32") -> Anatomy:
    inputs = [{"stage": "sft-a", "weight": 0.9, "density": 0.8}, {"stage": "sft-b", "weight": 0.1, "density": 0.8}]
    candidate = Candidate.parse({"name": "m", "method": method, "inputs": inputs, "base": "pretrained" if method in NEEDS_BASE else ""})
    config = MergingConfig.parse({"candidates": [candidate.model_dump()], "seed": seed, "output_dtype": output})
    return merge(candidate, parents, config, out)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_leaves_a_whole_model_with_a_chat_models_settings(method: str, parents: dict[str, Anatomy], tmp_path: Path) -> None:
    found = made(method, parents, tmp_path / "m")  # its own gate looked at it: weights, keys, layers, tie flag
    donor = parents["sft-a"]
    for name in ("chat_template.jinja", "tokenizer.json", "generation_config.json"):
        assert (found.folder / name).read_bytes() == (donor.folder / name).read_bytes()
    assert found.config == donor.config and found.shapes == donor.shapes
    a, merged = tensors(donor.folder), tensors(found.folder)
    assert any(not torch.equal(a[name], merged[name]) for name in a)


def test_a_linear_merge_is_the_average_and_is_rounded_once(family: dict[str, Path], parents: dict[str, Anatomy], tmp_path: Path) -> None:
    a, b = tensors(family["sft-a"]), tensors(family["sft-b"])
    exact = {name: 0.9 * a[name].double() + 0.1 * b[name].double() for name in a}
    merged, rounded = (tensors(made("linear", parents, tmp_path / to, output=to).folder) for to in ("float32", "bfloat16"))
    assert max(float((merged[name] - exact[name]).abs().max()) for name in a) < 5e-7
    assert all(torch.equal(rounded[name], merged[name].bfloat16()) for name in a)
    assert json.loads((tmp_path / "bfloat16" / "config.json").read_text())["dtype"] == "bfloat16"


def test_what_dare_drops_depends_on_the_seed_alone(parents: dict[str, Anatomy], tmp_path: Path) -> None:
    one, again, other = (tensors(made("dare_linear", parents, tmp_path / str(n), seed).folder) for n, seed in enumerate((3, 3, 4)))
    assert all(torch.equal(one[name], again[name]) for name in one) and any(not torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("method", ["task_arithmetic", "ties"])
def test_half_the_scale_is_half_the_way_from_the_base(method: str, parents: dict[str, Anatomy], tmp_path: Path) -> None:
    inputs = [{"stage": "sft-a", "weight": 0.7}, {"stage": "sft-b", "weight": 0.7}]
    config = MergingConfig.parse(
        {
            "candidates": [{"name": "m", "method": method, "inputs": inputs, "base": "pretrained", "scales": [0.5, 1]}],
            "output_dtype": "float32",
        }
    )
    base = tensors(parents["pretrained"].folder)
    half, whole = (tensors(merge(one, parents, config, tmp_path / one.name).folder) for one in config.merges())
    assert max(float((half[name] - (base[name] + whole[name]) / 2).abs().max()) for name in base) < 1e-6
    assert any(not torch.equal(half[name], base[name]) for name in base)


def test_where_mergekit_gives_up_the_candidate_is_named(parents: dict[str, Anatomy], tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    (tmp_path / "gone" / "config.json").write_text(json.dumps(parents["sft-b"].config))
    broken = parents | {"sft-b": Anatomy(**{**vars(parents["sft-b"]), "folder": tmp_path / "gone"})}
    with pytest.raises(StageError, match=r"mergekit could not make 'm' \(linear: 0.9 sft-a \+ 0.1 sft-b\): RuntimeError"):
        made("linear", broken, tmp_path / "m")


def test_a_model_is_dissected_without_its_weights_in_memory(parents: dict[str, Anatomy]) -> None:
    found = parents["pretrained"]
    assert found.layers == 2 and found.tied and found.dtypes == {"F32"} and not found.template and not found.not_finite
    assert dissect(found.folder) == found
