"""Writes a Hugging Face folder: config.json, generation_config.json, safetensors, tokenizer files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from contracts.errors import StageError
from tasks.conversion.tokenizer_files import TOKENIZER_FILES, TokenIds

if TYPE_CHECKING:
    import torch

SHARD_BYTES = 5 * 1000**3
"""Largest weight file, as on the Hugging Face hub."""


def config_json(fields: Mapping[str, Any], ids: TokenIds, dtype: str) -> dict[str, Any]:
    """The content of config.json: the architecture's fields (`models.huggingface.config`) with token ids and precision."""
    return {**fields, **ids.fields(), "dtype": dtype, "transformers_version": version("transformers")}


def generation_config_json(ids: TokenIds) -> dict[str, Any]:
    """The content of generation_config.json: where a text ends; how to sample is the user's choice."""
    return {**ids.fields(), "transformers_version": version("transformers")}


def write(
    out: Path,
    config: Mapping[str, Any],
    generation: Mapping[str, Any],
    tensors: Iterable[tuple[str, torch.Tensor]],
    shapes: Mapping[str, tuple[int, ...]],
    tokenizer: Path,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Write the folder `out`.

    Args:
        tensors: every tensor of `shapes`, in that order, one at a time: only one file's worth is held in memory.
        tokenizer: folder whose tokenizer files are copied byte by byte.

    Raises:
        StageError: a tensor is missing, foreign or of another shape.
    """
    import torch

    out.mkdir(parents=True, exist_ok=True)
    dtype: torch.dtype = getattr(torch, config["dtype"])
    _write_weights(out, tensors, shapes, dtype, shard_bytes)
    for name, content in (("config.json", config), ("generation_config.json", generation)):
        (out / name).write_text(json.dumps(dict(content), indent=2, sort_keys=True) + "\n")
    for name in TOKENIZER_FILES:
        if (tokenizer / name).is_file():
            shutil.copyfile(tokenizer / name, out / name)


def plan_files(shapes: Mapping[str, tuple[int, ...]], item_bytes: int, shard_bytes: int) -> dict[str, list[str]]:
    """File name -> tensor names, in order; one `model.safetensors` where everything fits into `shard_bytes`."""
    groups: list[list[str]] = [[]]
    held = 0
    for name, shape in shapes.items():
        size = item_bytes
        for extent in shape:
            size *= extent
        if groups[-1] and held + size > shard_bytes:
            groups.append([])
            held = 0
        groups[-1].append(name)
        held += size
    if len(groups) == 1:
        return {"model.safetensors": groups[0]}
    return {f"model-{n:05d}-of-{len(groups):05d}.safetensors": names for n, names in enumerate(groups, 1)}


def _write_weights(
    out: Path, tensors: Iterable[tuple[str, torch.Tensor]], shapes: Mapping[str, tuple[int, ...]], dtype: torch.dtype, shard_bytes: int
) -> None:
    from safetensors.torch import save_file

    files = plan_files(shapes, dtype.itemsize, shard_bytes)
    stream = iter(tensors)
    total = 0
    for file, names in files.items():
        group: dict[str, torch.Tensor] = {}
        for expected in names:
            name, tensor = next(stream, (None, None))
            if tensor is None or name != expected or tuple(tensor.shape) != shapes[expected]:
                found = "nothing" if tensor is None else f"{name} {list(tensor.shape)}"
                raise StageError(
                    f"the export gave {found} where {expected} {list(shapes[expected])} belongs",
                    do="the weight mapping in models/huggingface.py does not fit this architecture",
                )
            group[expected] = tensor.to(dtype).contiguous()
            total += tensor.numel() * dtype.itemsize
        save_file(group, out / file, metadata={"format": "pt"})
    if len(files) > 1:
        index = {"metadata": {"total_size": total}, "weight_map": {name: file for file, names in files.items() for name in names}}
        (out / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")
