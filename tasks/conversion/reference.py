"""The trained model as the parity gate sees it: Megatron's own forward pass over its own checkpoint, never the export."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Reference:
    """What an exported folder is compared with."""

    logits: Callable[[torch.Tensor], torch.Tensor]
    """Token ids [1, s] -> logits [1, s, vocab] in float32."""
    embedding: torch.Tensor
    """Input embedding [vocab, hidden], without padding rows."""
    sequences: Sequence[Sequence[int]]
    """Held-out token ids to compare on."""
    config: Mapping[str, Any]
    """Every key and value of config.json."""
    generation: Mapping[str, Any]
    """Every key and value of generation_config.json."""
    tokenizer: Path
    """Folder of the tokenizer that the shards were made with."""


def megatron_logits(chunk: torch.nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
    """The forward pass of a whole Megatron model on one rank (no tensor or pipeline split), as `Reference.logits` wants it."""
    import torch

    chunk.eval()

    def logits(ids: torch.Tensor) -> torch.Tensor:
        positions = torch.arange(ids.shape[1], device=ids.device)[None]
        with torch.inference_mode():
            return torch.as_tensor(chunk(ids, positions, None)).float()

    return logits


def megatron_embedding(chunk: torch.nn.Module) -> torch.Tensor:
    """The input embedding of a whole Megatron model; shape [vocab, hidden]."""
    return next(p for name, p in chunk.named_parameters() if name.endswith("embedding.word_embeddings.weight")).detach()


def round_weights(chunk: torch.nn.Module, dtype: torch.dtype) -> None:
    """Round every weight to `dtype`, in place and kept in its own format, so that an export in `dtype` can be held to exact equality."""
    import torch

    with torch.no_grad():
        for parameter in chunk.parameters():
            parameter.copy_(parameter.to(dtype))
