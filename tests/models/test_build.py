"""The Megatron model is the transformers model, at every layout; and layouts of hundreds of GPUs build in one process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from models.config import ModelConfig
from models.count import parameters_per_rank
from models.layout import Layout
from models.memory import GIB, static_bytes_per_rank
from models.precision import Precision
from tests.tasks.training.ranks import collective

HERE = Path(__file__).resolve().parent
SMOLLM3 = ModelConfig.preset("smollm3-3b")
LAYOUTS = ["TP2", "TP2+SP", "TP2+SP full recompute", "PP2", "PP2xVPP2", "DP2", "DP2 selective recompute", "CP2"]


HIDDEN = {"CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}


def run(script: str, folder: Path) -> dict[str, Any]:
    result = folder / "result.json"
    environment = os.environ | HIDDEN | {"PYTHONPATH": str(HERE.parents[1]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(HERE / script), str(result)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    loaded: dict[str, Any] = json.loads(result.read_text())
    return loaded


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in HIDDEN.items():
            patch.setenv(name, value)
        return dict(collective(tmp_path_factory.mktemp("two_ranks"), [2], "tests.models.two_ranks:differences", 150)[2])


@pytest.fixture(scope="module")
def pretended(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return run("pretended_ranks.py", tmp_path_factory.mktemp("pretended"))


@pytest.mark.parametrize("model", ["SmolLM3", "Llama", "Qwen3"])
@pytest.mark.parametrize("layout", ["DP2", "TP2", "PP2"])
def test_logits_equal_transformers(two_ranks: dict[str, Any], layout: str, model: str) -> None:
    assert two_ranks[f"{layout} {model} logits"] <= 1e-4


@pytest.mark.parametrize("model", ["SmolLM3", "Qwen3"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_loss_and_every_gradient_equal_transformers(two_ranks: dict[str, Any], layout: str, model: str) -> None:
    """SmolLM3 with packed documents (but under context parallelism), Qwen3 with QK norm, z-loss and an untied output layer."""
    difference = two_ranks[f"{layout} {model}"]
    assert difference["loss"] <= 1e-5
    assert difference["gradient"] <= 2e-5


@pytest.mark.parametrize("model", ["SmolLM3", "Qwen3"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_draws_the_same_weights_and_exports_them_bit_for_bit(two_ranks: dict[str, Any], layout: str, model: str) -> None:
    assert two_ranks[f"{layout} {model}"]["export"] == 0


def test_bfloat16_is_the_same_model_rounded(two_ranks: dict[str, Any]) -> None:
    assert 0 < two_ranks["bfloat16"] < 0.03


def test_what_only_a_running_job_can_know_is_refused(two_ranks: dict[str, Any]) -> None:
    refused = two_ranks["refusals"]
    assert "fp8 needs a GPU with Transformer Engine" in refused["fp8"]
    assert "context_parallel_size 2 cuts every document into 4 equal chunks" in refused["documents"]
    assert "needs 4 processes (TP x PP x CP x DP), and 2 were started" in refused["processes"]


def test_smollm3_builds_on_384_gpus_as_it_was_trained(pretended: dict[str, Any]) -> None:
    layout = Layout(tensor_parallel_size=2, sequence_parallel=True, data_parallel_size=192)
    first, last = pretended["TP2 x DP192"]["0"], pretended["TP2 x DP192"]["383"]
    assert (first["coordinates"], last["coordinates"]) == ([0, 0, 0, 0], [1, 0, 191, 0])
    assert first["parameters"] == last["parameters"] == parameters_per_rank(SMOLLM3, layout)
    assert round(static_bytes_per_rank(SMOLLM3, layout, Precision(dtype="bfloat16")) / GIB, 2) == 8.68
    assert first["layers"] == [list(range(1, 37))]
    assert first["devices"] == ["meta"]


def test_smollm3_builds_over_four_pipeline_stages(pretended: dict[str, Any]) -> None:
    layout = Layout(tensor_parallel_size=2, pipeline_parallel_size=4, data_parallel_size=8)
    stages = [pretended["TP2 x PP4"][str(number)] for number in (0, 16, 32, 48)]
    assert [stage["coordinates"][3] for stage in stages] == [0, 1, 2, 3]
    assert [stage["parameters"] for stage in stages] == [parameters_per_rank(SMOLLM3, layout, rank) for rank in range(4)]
    assert [layer for stage in stages for layer in stage["layers"][0]] == list(range(1, 37))


def test_virtual_stages_interleave_the_layers(pretended: dict[str, Any]) -> None:
    stages = [pretended["TP2 x PP2 x VPP3 x CP4"][str(number)] for number in (0, 192)]
    assert [chunk[0] for chunk in stages[0]["layers"]] == [1, 13, 25]
    assert [chunk[0] for chunk in stages[1]["layers"]] == [7, 19, 31]
    assert pretended["TP2 x PP2 x VPP3 x CP4"]["383"]["coordinates"] == [1, 3, 23, 1]


def test_megatron_core_accepts_every_fp8_recipe_and_refuses_what_we_refuse(pretended: dict[str, Any]) -> None:
    assert pretended["recipes"] == {"delayed": "", "tensorwise": "", "blockwise": "", "mxfp8": ""}
    assert "does not support first / last layer in BF16" in pretended["delayed with bfloat16 ends"]


def test_one_process_alone_cannot_be_two_ranks(pretended: dict[str, Any]) -> None:
    assert "this layout needs 2 processes, and this is one alone" in pretended["alone"]
