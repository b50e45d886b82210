"""Model, optimizer and random state in Megatron's distributed format (torch_dist, fully reshardable): saved here, loaded at any layout.

A folder is complete when its metadata.json exists, which is written last.
"""

from __future__ import annotations

import contextlib
import errno
import queue
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil as _psutil  # noqa: F401  megatron-core needs it on one rank only, which would leave the others waiting
import torch
from torch.distributed.checkpoint.api import CheckpointException

from contracts.errors import IntegrityError, ResourceError, StageError
from models import backend as _backend  # noqa: F401  before megatron.core
from tasks.training import optimizer as optimizers
from tasks.training.safe_load import allow_list, causes

# isort: split
from megatron.core import dist_checkpointing, parallel_state, tensor_parallel
from megatron.core.dist_checkpointing.mapping import ShardedObject
from megatron.core.dist_checkpointing.serialization import load_sharded_metadata
from megatron.core.dist_checkpointing.strategies import filesystem_async
from megatron.core.dist_checkpointing.strategies.fully_parallel import FullyParallelSaveStrategyWrapper
from megatron.core.dist_checkpointing.strategies.torch import TorchDistSaveShardedStrategy
from megatron.core.optimizer import MegatronOptimizer
from megatron.core.utils import unwrap_model

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
Chunks = Sequence[torch.nn.Module]


def save(folder: Path, chunks: Chunks, optimizer: MegatronOptimizer) -> None:
    """Write a checkpoint; a collective of all ranks. `folder` exists and is empty on every node.

    Raises:
        ResourceError: no room to write; the folder then has no metadata.json, here and below.
        StageError: it could not be written for another reason.
    """
    try:
        _save(folder, chunks, optimizer)
    except (Exception, CheckpointException) as error:  # the latter is no Exception
        raise _unwritten(error, folder) from error


def _save(folder: Path, chunks: Chunks, optimizer: MegatronOptimizer) -> None:
    optimizers.prime(optimizer)
    content = _sharded(chunks, optimizer, loading=False) | {"random": _random_object(_random_state())}
    # The results of a save that blocks stay in this process; core would start a manager process for them, which takes seconds.
    filesystem_async._results_queue = queue.SimpleQueue()
    strategy: Any = TorchDistSaveShardedStrategy("torch_dist", 1, thread_count=1)
    data_parallel = parallel_state.get_data_parallel_group(with_context_parallel=True)
    if data_parallel.size() > 1:
        strategy = FullyParallelSaveStrategyWrapper(strategy, data_parallel)
    metadata = {key: value for key, value in _metadata().items() if key != "dp_cp_group"}
    with contextlib.chdir(folder.parent):  # torch writes the path that it is given into the checkpoint: none of this machine
        dist_checkpointing.save(content, folder.name, strategy, content_metadata=metadata)


def load(folder: Path, chunks: Chunks, optimizer: MegatronOptimizer | None) -> None:
    """Read a checkpoint into chunks that may have another layout; a collective of all ranks.

    Random states are restored where tensor- and pipeline-parallel sizes are those of the save (there they matter bit for bit).

    Args:
        optimizer: its state is read too; None: weights only.

    Raises:
        IntegrityError: the checkpoint holds a pickle outside the allow-list, or does not fit the model.
    """
    try:
        _load(folder, chunks, optimizer)
    except CheckpointException as error:
        do = "use a checkpoint of this model"
        raise IntegrityError(f"the checkpoint cannot be read into this model: {error}", where=str(folder), do=do) from error


def _load(folder: Path, chunks: Chunks, optimizer: MegatronOptimizer | None) -> None:
    if optimizer is not None:
        optimizers.prime(optimizer)
    content = _sharded(chunks, optimizer, loading=True)
    with allow_list(str(folder)):
        wanted = _random_object()
        if optimizer is not None and any(key.split("/")[0] == wanted.key for key in load_sharded_metadata(str(folder))):
            content["random"] = wanted
        loaded = dist_checkpointing.load(content, str(folder))
    for index, chunk in enumerate(chunks):
        unwrap_model(chunk).load_state_dict(loaded[_name(chunks, index)])
    if optimizer is None:
        return
    optimizer.load_state_dict(loaded["optimizer"])
    optimizers.separate_steps(optimizer)
    if "random" in loaded:
        _set_random_state(loaded["random"])


def _unwritten(error: BaseException, folder: Path) -> Exception:
    linked = causes(error)
    words = ("No space left", "File too large", "quota exceeded", "PytorchStreamWriter failed writing")
    full = any(isinstance(one, OSError) and one.errno in _FULL for one in linked)
    if full or any(word in str(one) for word in words for one in linked):
        do = "free some space or raise the limit, then start it again: it goes on from the checkpoint before, which is untouched"
        return ResourceError("no room left for a checkpoint", where=str(folder), do=do)
    return StageError(f"a checkpoint could not be written: {error}", where=str(folder), do="read the log")


def _name(chunks: Chunks, index: int) -> str:
    return "model" if len(chunks) == 1 else f"model{index}"


def _metadata() -> dict[str, Any]:
    return {
        "distrib_optim_sharding_type": "fully_reshardable",
        "distrib_optim_fully_reshardable_mem_efficient": False,
        "chained_optim_avoid_prefix": True,
        "singleton_local_shards": False,
        "dp_cp_group": parallel_state.get_data_parallel_group(with_context_parallel=True),
    }


def _sharded(chunks: Chunks, optimizer: MegatronOptimizer | None, loading: bool) -> dict[str, Any]:
    metadata = _metadata()
    content = {_name(chunks, i): unwrap_model(chunk).sharded_state_dict(metadata=metadata) for i, chunk in enumerate(chunks)}
    if optimizer is not None:
        content["optimizer"] = optimizer.sharded_state_dict(content, is_loading=loading, metadata=metadata)
    return content


def _random_object(value: Any = None) -> ShardedObject:
    """One per (pipeline, tensor) rank, shared by data-parallel replicas; the key names the layout and must not contain a slash."""
    p, t = parallel_state.get_pipeline_model_parallel_world_size(), parallel_state.get_tensor_model_parallel_world_size()
    place = (parallel_state.get_pipeline_model_parallel_rank(), parallel_state.get_tensor_model_parallel_rank())
    return ShardedObject(
        f"random_pp{p}tp{t}", value, (p, t), place, replica_id=parallel_state.get_data_parallel_rank(with_context_parallel=True)
    )


def _random_state() -> dict[str, Any]:
    """Every generator's state as numbers and tensors only, so that the allow-list need not know numpy."""
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    return {
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(np.asarray(keys).astype(np.int64)), int(position), int(has_gauss), float(cached)),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
        "tracker": tensor_parallel.get_cuda_rng_tracker().get_states(),
    }


def _set_random_state(state: dict[str, Any]) -> None:
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
    tensor_parallel.get_cuda_rng_tracker().set_states(state["tracker"])
