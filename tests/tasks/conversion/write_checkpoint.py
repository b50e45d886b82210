"""Leaves the artifact of a training phase, on one rank or two."""

from __future__ import annotations

import json
from pathlib import Path

from models import parallel
from models.config import ModelConfig
from models.layout import Layout
from models.precision import Precision
from tasks.training.config import OptimizerConfig, Phase

# isort: split
import torch.distributed as dist

from tasks.training import checkpoint
from tasks.training.engine import Engine
from tests.tasks.conversion.material import model_of

SEED = 11


def write(folder: Path, model: ModelConfig, layout: Layout, rope_theta: float | None = None) -> None:
    """checkpoint/, model.json, training.json and state.json, as the trainer leaves them."""
    parallel.destroy(keep_processes=True)
    parallel.initialise(layout, SEED)
    length = model.max_sequence_length
    engine = Engine(model, layout, Precision(), OptimizerConfig(), length, rope_theta=rope_theta, seed=SEED)
    phase = Phase.parse(
        {
            "name": "stable", "tokens": length, "mixture": {"prose": 1.0}, "sequence_length": length, "global_batch_size": 1,
            "schedule": {"learning_rate": 1e-3}, "rope_theta": rope_theta, "layout": layout.model_dump(),
        }
    )  # fmt: skip
    (folder / "checkpoint").mkdir(parents=True, exist_ok=True)
    for name, content in (
        ("model.json", model.model_dump(mode="json")),
        ("training.json", {"phase": phase.model_dump(mode="json")}),
        ("state.json", {"step": 1}),
    ):
        (folder / name).write_text(json.dumps(content))
    checkpoint.save(folder / "checkpoint", engine.chunks, engine.optimizer)


def split_over_ranks(folder: Path) -> None:
    """The tests' own model as one of two ranks, in `folder`/trained."""
    write(folder / "trained", model_of(), Layout(tensor_parallel_size=2, sequence_parallel=True))
    dist.barrier()
