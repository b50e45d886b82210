"""Frozen result: code that changes what an export holds raises the version of the stage `convert` (in flows/) and renews these digests."""

from __future__ import annotations

import hashlib
import json
import zlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from models import huggingface, weights
from tests.tasks.conversion.material import build_chunk, export_chunk, model_of

GOLDEN = {
    "float32": ("3b5db0099e546622", "db1685c65aed39f1"),
    "bfloat16": ("cb5106ad112dd40e", "0609dee1113883f7"),
}
"""Precision -> digest of the tensors, digest of config.json and generation_config.json."""


def exact(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Weights of one tensor that hold the same bits on every processor (random numbers do not), no two tensors alike."""
    count = torch.Size(shape).numel()
    return (((torch.arange(count) * 7 + zlib.crc32(name.encode())) % 509) / 1024 - 0.25).reshape(shape)


def tensors_digest(path: Path) -> str:
    """Digest of names, types, shapes and bytes; the file's own header belongs to the version of safetensors."""
    found = hashlib.sha256()
    for name, tensor in sorted(load_file(path).items()):
        found.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        found.update(tensor.contiguous().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()[:16]


def settings_digest(folder: Path) -> str:
    """Digest of both configuration files, without the version of transformers that wrote them."""
    files = [json.loads((folder / name).read_text()) for name in ("config.json", "generation_config.json")]
    kept = [{key: value for key, value in one.items() if key != "transformers_version"} for one in files]
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]


@pytest.mark.parametrize("dtype", GOLDEN)
def test_export_is_as_frozen(dtype: str, tokenizer: Path, tmp_path: Path) -> None:
    model = model_of()
    chunk, shapes = build_chunk(model), huggingface.shapes(model)
    weights.load([chunk], model, lambda name: exact(name, shapes[name]))
    folder = export_chunk(chunk, model, tokenizer, [[1, 2]], tmp_path / "model", dtype).folder
    assert (tensors_digest(folder / "model.safetensors"), settings_digest(folder)) == GOLDEN[dtype]
