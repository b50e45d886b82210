"""Weights into and out of the model chunks of one rank, at any tensor, pipeline and virtual pipeline layout, tensor by tensor.

Initial weights are drawn per Hugging Face tensor from a generator seeded by (seed, name): the same at every layout and on every device,
and no two tensor-parallel ranks can share a seed by mistake (SmolLM3 lost 1 T tokens to that: Smol Training Playbook, the marathon).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
import torch.distributed as dist

from models import backend as _backend  # noqa: F401  before megatron.core
from models import huggingface
from models.config import ModelConfig

# isort: split
from megatron.core import parallel_state
from megatron.core.transformer.transformer_layer import get_transformer_layer_offset
from megatron.core.utils import unwrap_model

Chunks = Sequence[torch.nn.Module]
_RESIDUAL = ("self_attn.o_proj.weight", "mlp.down_proj.weight")


class _Entry(NamedTuple):
    names: list[str]
    megatron_name: str
    parameter: torch.nn.Parameter


@torch.no_grad()
def load(chunks: Chunks, model: ModelConfig, source: Callable[[str], torch.Tensor]) -> None:
    """Fill this rank's parameters from whole Hugging Face tensors, one at a time.

    Args:
        chunks: as `models.build.build` returns them, wrapped or not.
        source: name -> whole tensor, for example `state_dict.__getitem__` or a safetensors file's `get_tensor`. A tied output layer is
            asked for as the embedding.
    """
    for entry in _entries(chunks, model):
        whole = huggingface.stack([source(_tied(name, model)) for name in entry.names], entry.megatron_name, model)
        entry.parameter.copy_(_slice(whole, entry.parameter))
        if hasattr(entry.parameter, "clear_high_precision_init_val"):
            entry.parameter.clear_high_precision_init_val()  # FP8 weights: else the optimizer would start from the unwritten original


def initialise(chunks: Chunks, model: ModelConfig, seed: int) -> None:
    """Draw this rank's initial weights: norms 1, every matrix normal with the model's std (see `initial_weight`)."""
    shapes = huggingface.shapes(model)
    load(chunks, model, lambda name: initial_weight(model, name, shapes[name], seed))


def initial_weight(model: ModelConfig, name: str, shape: tuple[int, ...], seed: int) -> torch.Tensor:
    """The initial value of one Hugging Face tensor, float32 on the CPU.

    Norms are ones. Matrices are normal with std `init_std`; the two projections into the residual stream have it divided by
    sqrt(2 x num_layers) where `residual_init` is "scaled" (GPT-2, Megatron-LM and nanotron, with which SmolLM3 was trained).
    """
    if len(shape) == 1:
        return torch.ones(shape)
    std = model.init_std
    if model.residual_init == "scaled" and name.endswith(_RESIDUAL):
        std /= math.sqrt(2 * model.num_layers)
    number = int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:8], "little") >> 1
    return torch.empty(shape).normal_(0.0, std, generator=torch.Generator().manual_seed(number))


@torch.no_grad()
def export(chunks: Chunks, model: ModelConfig) -> Iterator[tuple[str, torch.Tensor]]:
    """Every Hugging Face tensor of the model, whole, one at a time; a tied output layer is left out.

    A collective: all ranks of a replica iterate to the end, and each is given every tensor. At most one Megatron parameter is whole at a
    time, so a model larger than one device passes through.
    """
    mine = [entry for entry in _entries(chunks, model) if not (model.tie_embeddings and entry.names == [huggingface.OUTPUT])]
    stages = parallel_state.get_pipeline_model_parallel_world_size()
    plan: list[list[list[str]]] = [[entry.names for entry in mine]]
    if stages > 1:
        plan = [[] for _ in range(stages)]
        dist.all_gather_object(plan, [entry.names for entry in mine], group=parallel_state.get_pipeline_model_parallel_group())
    shapes = huggingface.shapes(model)
    held = {entry.names[0]: entry for entry in mine}
    owner = {names[0]: (stage, names) for stage, listed in enumerate(plan) for names in listed}
    for first in (name for name in shapes if name in owner):
        stage, names = owner[first]
        parts = huggingface.unstack(_whole(held[first].parameter), held[first].megatron_name, model) if first in held else None
        for index, name in enumerate(names):
            yield name, _from_stage(None if parts is None else parts[index], shapes[name], stage, stages, mine[0].parameter)


def _entries(chunks: Chunks, model: ModelConfig) -> Iterator[_Entry]:
    for wrapped in chunks:
        chunk = unwrap_model(wrapped)
        offset = get_transformer_layer_offset(chunk.config, vp_stage=chunk.vp_stage)
        for name, parameter in chunk.named_parameters():
            yield _Entry(huggingface.names(name, offset), name, parameter)


def _tied(name: str, model: ModelConfig) -> str:
    return huggingface.EMBEDDING if model.tie_embeddings and name == huggingface.OUTPUT else name


def _split(parameter: torch.nn.Parameter) -> tuple[int, int]:
    """(dimension, stride) of the split over tensor parallelism; dimension -1: whole on every rank."""
    if parallel_state.get_tensor_model_parallel_world_size() == 1 or not getattr(parameter, "tensor_model_parallel", False):
        return -1, 1
    return parameter.partition_dim, getattr(parameter, "partition_stride", 1)  # type: ignore[attr-defined]


def _slice(whole: torch.Tensor, parameter: torch.nn.Parameter) -> torch.Tensor:
    dim, stride = _split(parameter)
    if dim < 0:
        return whole
    t, rank = parallel_state.get_tensor_model_parallel_world_size(), parallel_state.get_tensor_model_parallel_rank()
    return torch.cat([block.chunk(t, dim)[rank] for block in whole.chunk(stride, dim)], dim)


def _whole(parameter: torch.nn.Parameter) -> torch.Tensor:
    part = parameter.dequantize() if hasattr(parameter, "get_high_precision_init_val") else parameter.detach()  # type: ignore[operator]
    dim, stride = _split(parameter)
    if dim < 0:
        return part
    parts = [torch.empty_like(part) for _ in range(parallel_state.get_tensor_model_parallel_world_size())]
    dist.all_gather(parts, part.contiguous(), group=parallel_state.get_tensor_model_parallel_group())
    return torch.cat([torch.cat([p.chunk(stride, dim)[block] for p in parts], dim) for block in range(stride)], dim)


def _from_stage(part: torch.Tensor | None, shape: tuple[int, ...], stage: int, stages: int, like: torch.Tensor) -> torch.Tensor:
    """The tensor on every pipeline rank, from the stage that holds it."""
    if stages == 1:
        assert part is not None
        return part.clone()
    group = parallel_state.get_pipeline_model_parallel_group()
    received = like.new_empty(shape) if part is None else part.clone(memory_format=torch.contiguous_format)
    dist.broadcast(received, dist.get_global_rank(group, stage), group=group)
    return received
