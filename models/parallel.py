"""The process group and megatron-core's parallel state: begin, end, and pretend."""

from __future__ import annotations

import os
import random
from datetime import timedelta

import numpy as np
import torch
import torch.distributed as dist

from contracts.errors import ConfigError
from models.backend import HAVE_CUDA
from models.layout import Layout

# isort: split
from megatron.core import parallel_state, tensor_parallel


def initialise(layout: Layout, seed: int, timeout_seconds: float = 600.0) -> None:
    """Join the job and set up `layout`, with every random generator seeded.

    Under torchrun the ranks meet through its environment; one rank alone needs no environment. Called again in a running job (after
    `destroy(keep_processes=True)`) it sets up another layout over the same processes.

    Args:
        seed: of python, numpy, torch, and megatron-core's tracker, whose streams differ between tensor and pipeline ranks where they must.
        timeout_seconds: after which a collective that waits for a dead rank fails.

    Raises:
        ConfigError: the number of processes is not the layout's.
    """
    if not dist.is_initialized():
        _join(layout, timedelta(seconds=timeout_seconds))
    if dist.get_world_size() != layout.world_size:
        raise ConfigError(
            f"this layout needs {layout.world_size} processes (TP x PP x CP x DP), and {dist.get_world_size()} were started",
            do=f"start {layout.world_size}, or change the layout",
        )
    _set_groups(layout, timeout_seconds / 60)
    _seed(seed)


def destroy(keep_processes: bool = False) -> None:
    """Leave the layout, and the job too unless `keep_processes`."""
    parallel_state.destroy_model_parallel()
    if not dist.is_initialized():
        return
    if not keep_processes:
        dist.destroy_process_group()
        return
    # Forgotten groups live on: three gloo threads each, some 90 for every layout, which keep a core busy once there are hundreds.
    for group in [one for one in dist.distributed_c10d._world.pg_map if one is not dist.group.WORLD]:
        dist.destroy_process_group(group)


def pretend(layout: Layout, rank: int = 0) -> None:
    """Be `rank` of `layout` in one process, under torch's fake process group: models can be built (on `meta`) and measured, not run.

    Collectives return at once and leave their outputs as they are.
    """
    from torch.testing._internal.distributed.fake_pg import FakeStore

    destroy()
    dist.init_process_group("fake", store=FakeStore(), rank=rank, world_size=layout.world_size)
    _set_groups(layout, 1.0)
    _seed(1)


def pipeline_rank_of(layout: Layout, rank: int) -> int:
    """Pipeline stage of a global rank: the slowest axis of megatron-core's order tp-cp-dp-pp."""
    return rank // (layout.world_size // layout.pipeline_parallel_size)


def _join(layout: Layout, timeout: timedelta) -> None:
    backend = "nccl" if HAVE_CUDA else "gloo"
    if HAVE_CUDA:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    if "RANK" in os.environ:
        dist.init_process_group(backend, timeout=timeout)
    elif layout.world_size == 1:
        dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1, timeout=timeout)
    else:
        raise ConfigError(f"this layout needs {layout.world_size} processes, and this is one alone", do="start them with torchrun")


def _seed(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    tensor_parallel.model_parallel_cuda_manual_seed(seed)


def _set_groups(layout: Layout, timeout_minutes: float) -> None:
    parallel_state.initialize_model_parallel(
        tensor_model_parallel_size=layout.tensor_parallel_size,
        pipeline_model_parallel_size=layout.pipeline_parallel_size,
        virtual_pipeline_model_parallel_size=layout.virtual_pipeline_parallel_size,
        context_parallel_size=layout.context_parallel_size,
        create_gloo_process_groups=False,
        distributed_timeout_minutes=timeout_minutes,
    )
