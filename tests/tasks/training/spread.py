"""What the ranks of a collective test do: train one model at many layouts, save and load across them."""

from __future__ import annotations

import gc
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch.distributed as dist

from models import parallel
from models.config import ModelConfig
from models.layout import Layout
from models.precision import Precision
from tasks.training import checkpoint
from tasks.training.batches import micro_batches, share_of
from tasks.training.config import OptimizerConfig, Schedule
from tasks.training.engine import Engine
from tasks.training.schedule import learning_rate
from tests.tasks.training.material import documents

LENGTH, BATCH, STEPS, SAVED_AT, AFTER = 32, 8, 20, 5, 3
MODEL = ModelConfig.parse(
    {
        "hidden_size": 64, "num_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2, "ffn_hidden_size": 128,
        "vocab_size": 256, "max_sequence_length": LENGTH, "no_rope_every": 3, "init_std": 0.125,
    }
)  # fmt: skip
SCHEDULE = Schedule(shape="cosine", learning_rate=1e-3, warmup_steps=2, final_fraction=0.1)


@dataclass(frozen=True)
class Case:
    """One way to train."""

    layout: Layout
    masking: bool = True
    optimizer: str = "adamw"

    @property
    def world(self) -> int:
        return self.layout.world_size


def _layout(**sizes: Any) -> Layout:
    return Layout(**({"micro_batch_size": 4} | sizes))


T, P, C, D, V = (
    "tensor_parallel_size", "pipeline_parallel_size", "context_parallel_size", "data_parallel_size", "virtual_pipeline_parallel_size",
)  # fmt: skip
CASES: dict[str, Case] = {
    "one": Case(_layout()),
    "one, whole sequences": Case(_layout(), masking=False),
    "one, recompute": Case(_layout(recompute="full")),
    "tp2": Case(_layout(**{T: 2})),
    "tp2, sequence parallel": Case(_layout(**{T: 2, "sequence_parallel": True})),
    "pp2": Case(_layout(**{P: 2})),
    "dp2": Case(_layout(**{D: 2})),
    "dp2, overlap": Case(_layout(**{D: 2, "overlap_grad_reduce": True, "overlap_param_gather": True})),
    "dp2, recompute": Case(_layout(**{D: 2, "recompute": "full"})),
    "cp2, whole sequences": Case(_layout(**{C: 2}), masking=False),
    "pp2 x vpp2": Case(_layout(**{P: 2, V: 2})),
    "tp2 x pp2": Case(_layout(**{T: 2, P: 2})),
    "tp2 x dp2": Case(_layout(**{T: 2, D: 2})),
    "dp4": Case(_layout(**{D: 4, "micro_batch_size": 2})),
    "muon one": Case(_layout(), optimizer="muon"),
    "muon one, whole sequences": Case(_layout(), masking=False, optimizer="muon"),
    "muon dp2": Case(_layout(**{D: 2}), optimizer="muon"),
    "muon pp2": Case(_layout(**{P: 2}), optimizer="muon"),
    "muon pp2 x vpp2": Case(_layout(**{P: 2, V: 2}), optimizer="muon"),
    "muon cp2, whole sequences": Case(_layout(**{C: 2}), masking=False, optimizer="muon"),
}


@contextmanager
def built(case: Case, seed: int | None) -> Iterator[Engine]:
    """An engine at the case's layout, which is left afterwards."""
    parallel.initialise(case.layout, seed=7, timeout_seconds=60)
    model = MODEL.model_copy(update={"document_masking": case.masking})
    engine = Engine(model, case.layout, Precision(), OptimizerConfig(kind=case.optimizer), LENGTH, seed=seed)  # type: ignore[arg-type]
    yield engine
    engine.close()
    parallel.destroy(keep_processes=True)


def train(engine: Engine, case: Case, first: int, last: int) -> list[tuple[float, float]]:
    """(loss, gradient norm) of steps `first` to `last`, both included."""
    stream = np.concatenate(documents(200, seed=3))
    found = []
    for step in range(first, last + 1):
        starts = ((step - 1) * BATCH + np.arange(BATCH)) * LENGTH
        windows = stream[starts[:, None] + np.arange(LENGTH + 1)][share_of(*engine.replica, BATCH)]
        batches = list(micro_batches(windows, case.layout.micro_batch_size, 0 if case.masking else None))
        found.append(engine.step(batches, learning_rate(SCHEDULE, step, STEPS))[:2])
    return found


def _named(names: str) -> list[str]:
    return [name for name in os.environ[names].split("|") if CASES[name].world == int(os.environ["WORLD_SIZE"])]


def losses(folder: Path) -> dict[str, list[tuple[float, float]]]:
    """Train every case of this world size for 20 steps."""
    found = {}
    for name in _named("CASES"):
        with built(CASES[name], seed=5) as engine:
            found[name] = train(engine, CASES[name], 1, STEPS)
    return found


def threads(folder: Path) -> list[int]:
    """Threads of this process after each of three engines has come and gone."""
    found = []
    for _ in range(3):
        with built(CASES["dp2"], seed=5) as engine:
            train(engine, CASES["dp2"], 1, 2)
        del engine
        gc.collect()
        found.append(len(list(Path("/proc/self/task").iterdir())))
    return found


def save(folder: Path) -> dict[str, list[tuple[float, float]]]:
    """Train every case for 5 steps, save, and train 3 more: those are returned."""
    found = {}
    for name in _named("CASES"):
        with built(CASES[name], seed=5) as engine:
            train(engine, CASES[name], 1, SAVED_AT)
            place = folder / name
            if dist.get_rank() == 0:
                shutil.rmtree(place, ignore_errors=True)
                place.mkdir(parents=True)
            dist.barrier()
            with engine.weights_in_place():
                checkpoint.save(place, engine.chunks, engine.optimizer)
            found[name] = train(engine, CASES[name], SAVED_AT + 1, SAVED_AT + AFTER)
    return found


def resume(folder: Path) -> dict[str, list[tuple[float, float]]]:
    """Load every checkpoint of PAIRS (`saved>loaded`) into the case of this world size, and train the 3 steps that follow."""
    found = {}
    for pair in os.environ["PAIRS"].split("|"):
        saved, loaded = pair.split(">")
        case = CASES[loaded]
        if case.world != int(os.environ["WORLD_SIZE"]):
            continue
        with built(case, seed=None) as engine:
            checkpoint.load(folder / saved, engine.chunks, engine.optimizer)
            found[pair] = train(engine, case, SAVED_AT + 1, SAVED_AT + AFTER)
    return found


def worlds(names: Sequence[str]) -> list[int]:
    """World sizes that the cases need."""
    return sorted({CASES[name].world for name in names})
