"""The model to measure, whichever backend computes it: log-likelihoods of tokens, and generated ones."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from contracts.errors import InputError, ResourceError
from tasks.evaluation import generation, likelihood
from tasks.evaluation.config import EvaluationConfig
from tasks.evaluation.generation import Sampling
from tasks.evaluation.tokens import TextTokenizer

if TYPE_CHECKING:
    import torch

Request = tuple[Sequence[int], Sequence[int]]
"""(context, continuation) in token ids; the context has at least one."""


@dataclass(frozen=True)
class Facts:
    """What is recorded of a model beside its numbers."""

    backend: str
    """What computes it, with version."""
    device: str
    """`cuda` or `cpu`."""
    window: int
    """Longest sequence in tokens that it was built for."""
    parameters: int
    """Weights."""
    tokens_seen: int
    """Tokens it was trained on; 0 where the artifact does not say."""


class Model(Protocol):
    """What every measurement needs of a model."""

    @property
    def tokenizer(self) -> TextTokenizer:
        """Its tokenizer."""

    @property
    def facts(self) -> Facts:
        """What is recorded of it."""

    def loglikelihoods(self, requests: Sequence[Request], batch_size: int) -> list[tuple[float, bool]]:
        """For each request the natural log-probability of its continuation, and whether greedy decoding would write it."""

    def generate(self, prompts: Sequence[Sequence[int]], how: Sampling, batch_size: int) -> list[str]:
        """The text that follows each prompt."""


@dataclass(frozen=True)
class LoadedModel:
    """A model in this process's memory, known by its forward pass."""

    logits: Callable[[torch.Tensor], torch.Tensor]
    """Token ids [b, s] -> logits [b, s, vocab] in float32; causal, so what stands right of a position does not matter to it."""
    tokenizer: TextTokenizer
    """Its tokenizer."""
    facts: Facts
    """What is recorded of it."""
    write: generation.Writer | None = None
    """The library's own generation, which keeps what it has computed; unset: the forward pass is repeated for every token."""

    def loglikelihoods(self, requests: Sequence[Request], batch_size: int) -> list[tuple[float, bool]]:
        """As `Model.loglikelihoods`; what is longer than the window loses its beginning."""
        return likelihood.loglikelihoods(self.logits, self.facts, requests, self.tokenizer.end, batch_size)

    def generate(self, prompts: Sequence[Sequence[int]], how: Sampling, batch_size: int) -> list[str]:
        """As `Model.generate`; the same seed writes the same text on the same machine at the same batch size."""
        writer = self.write or generation.plain_writer(self.logits)
        return generation.generate(writer, self.tokenizer, self.facts, prompts, how, batch_size)


def load(config: EvaluationConfig, inputs: Mapping[str, Path]) -> Model:
    """The model of the config's backend.

    Args:
        inputs: `checkpoint` and `tokenizer` for megatron, else `model`.

    Raises:
        InputError: an artifact that cannot be read, or a tokenizer without a token that ends a document.
        ResourceError: vllm where it is not installed.
    """
    if config.backend == "megatron":
        from tasks.evaluation import megatron_model

        return megatron_model.load(_folder(inputs, "checkpoint"), _folder(inputs, "tokenizer"), config.dtype)
    folder = _folder(inputs, "model") / "model"
    if config.backend == "vllm":
        require_vllm()
        from tasks.evaluation import vllm_model

        return vllm_model.load(folder, config.dtype, config.seed)
    from tasks.evaluation import transformers_model

    return transformers_model.load(folder, config.dtype)


def require_vllm() -> None:
    """Refuse the backend vllm where it cannot run.

    Raises:
        ResourceError: vllm is not installed.
    """
    if find_spec("vllm") is None:
        raise ResourceError(
            "evaluation.backend is vllm, which is not installed here",
            do="run this stage on a pool whose image has vllm and a GPU, or set evaluation.backend=transformers",
        )


def diverged_at(inputs: Mapping[str, Path]) -> int | None:
    """Step at which the training of the checkpoint among `inputs` was stopped as diverged; None: it was not, or none is among them.

    Raises:
        InputError: the checkpoint's state cannot be read.
    """
    if "checkpoint" not in inputs:
        return None
    path = inputs["checkpoint"] / "state.json"
    try:
        found = json.loads(path.read_text()).get("diverged_at")
    except (OSError, ValueError) as error:
        raise InputError(f"the state of the training cannot be read: {error}", where=str(path), do="run the training stage again") from None
    return None if found is None else int(found)


def _folder(inputs: Mapping[str, Path], role: str) -> Path:
    if role not in inputs:
        raise InputError(f"this backend reads the input '{role}', and was given {', '.join(inputs)}", do="run the stage through the recipe")
    return inputs[role]
