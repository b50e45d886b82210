"""The model of a trained artifact, whole on one rank, whatever layout wrote it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch

from contracts.errors import InputError
from models import build, parallel
from models.config import ModelConfig
from models.layout import Layout
from models.precision import Precision
from tasks.training import checkpoint
from tasks.training.config import Phase


@dataclass(frozen=True)
class TrainedModel:
    """What one training phase left."""

    chunk: torch.nn.Module
    """Megatron's model in float32 on this one rank; `chunk(tokens, positions, None)` gives logits [b, s, vocab]."""
    model: ModelConfig
    """Its architecture as the phase trained it: rope_theta is the phase's."""
    phase: Phase
    """The phase."""
    step: int
    """Steps of the phase that it has seen."""


def load_model(folder: Path) -> TrainedModel:
    """Read the weights of a training artifact (or of a fetched part): no optimizer, no random state.

    Takes over this process's parallel state: one rank, no split.

    Raises:
        InputError: the folder is no training artifact.
        IntegrityError: the checkpoint holds a pickle that is none of megatron-core's.
    """
    try:
        model = ModelConfig.parse(json.loads((folder / "model.json").read_text()), "model.json")
        phase = Phase.parse(json.loads((folder / "training.json").read_text())["phase"], "training.json")
        step = int(json.loads((folder / "state.json").read_text())["step"])
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"no training artifact: {error!r}", where=str(folder), do="give the folder of a training phase") from None
    if phase.rope_theta:
        model = model.model_copy(update={"rope_theta": phase.rope_theta})
    parallel.destroy(keep_processes=True)
    parallel.initialise(Layout(), seed=0)
    chunks = build.build(model, Layout(), Precision(), model.max_sequence_length)
    checkpoint.load(folder / "checkpoint", chunks, None)
    return TrainedModel(chunks[0].eval(), model, phase, step)
