"""The training checkpoint itself, by Megatron's own forward pass: for arms that are not converted, or cannot be."""

from __future__ import annotations

import contextlib
import json
from importlib.metadata import version
from pathlib import Path

import torch

from models.count import parameters
from tasks.evaluation.loading import Facts, LoadedModel
from tasks.evaluation.tokens import TextTokenizer
from tasks.training import load_model


def load(checkpoint: Path, tokenizer: Path, dtype: str) -> LoadedModel:
    """Load a training artifact on this one rank.

    The weights stay float32; with bfloat16 the forward pass runs under autocast, as training in mixed precision does.

    Raises:
        InputError: no training artifact, or no tokenizer that can be read.
        IntegrityError: the checkpoint holds a pickle that is none of megatron-core's.
    """
    text = TextTokenizer(tokenizer)
    trained = load_model(checkpoint)
    device = next(trained.chunk.parameters()).device

    def logits(ids: torch.Tensor) -> torch.Tensor:
        positions = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
        lower = torch.autocast(device.type, torch.bfloat16) if dtype == "bfloat16" else contextlib.nullcontext()
        with lower:
            return torch.as_tensor(trained.chunk(ids, positions, None)).float()

    facts = Facts(
        backend=f"megatron-core {version('megatron-core')}, not converted",
        device=device.type,
        window=trained.model.max_sequence_length,
        parameters=parameters(trained.model),
        tokens_seen=_tokens_seen(checkpoint),
    )
    return LoadedModel(logits, text, facts)


def _tokens_seen(checkpoint: Path) -> int:
    state = json.loads((checkpoint / "state.json").read_text())
    return sum(state.get("total_tokens", {}).values())
