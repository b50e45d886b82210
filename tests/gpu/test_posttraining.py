"""SFT on one GPU: bfloat16 over float32 masters, packed and not, stopped and gone on from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.tasks.posttraining.lab import Lab, request_of, sft_step, sums, write_model
from tests.tasks.posttraining.material import train_tokenizer

pytestmark = pytest.mark.gpu


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    made = Lab(tmp_path, write_model(train_tokenizer(tmp_path), tmp_path / "model"))
    made.chat("sft-main", sums=sums(48))
    return made


@pytest.mark.parametrize("changes", [{}, {"packing": "bfd", "global_batch_size": 2, "placement": {"micro_batch_size": 2}}])
def test_bfloat16_computes_and_float32_learns(lab: Lab, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]) -> None:
    from safetensors.torch import load_file

    spec = lab.spec(request_of(sft_step(**changes)))
    result = lab.here(spec, monkeypatch)
    assert result["exit"] == 0, result["reason"]
    made = lab.part(spec)
    assert {str(tensor.dtype) for tensor in load_file(made / "model.safetensors").values()} == {"torch.float32"}
    losses = [values["loss"] for _, _, values in map(json.loads, (made / "metrics.jsonl").read_text().splitlines())]
    assert losses[-1] < losses[0]
