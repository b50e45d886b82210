"""The converted model in transformers, without remote code and without the network."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, GenerationConfig
from transformers.generation import StoppingCriteria, StoppingCriteriaList

from tasks.evaluation.generation import Done, Sampling, Writer
from tasks.evaluation.loading import Facts, LoadedModel
from tasks.evaluation.tokens import TextTokenizer


def load(folder: Path, dtype: str) -> LoadedModel:
    """Load a Hugging Face folder.

    Raises:
        InputError: its tokenizer cannot be read, or names no token that ends a document.
    """
    tokenizer = TextTokenizer(folder)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype), local_files_only=True, trust_remote_code=False)
    model = model.to(device).eval()
    facts = Facts(
        backend=f"transformers {version('transformers')}",
        device=device,
        window=int(model.config.max_position_embeddings),
        parameters=int(model.num_parameters()),
        tokens_seen=0,
    )
    return LoadedModel(lambda ids: model(ids, use_cache=False).logits.float(), tokenizer, facts, _writer(model))


def _writer(model: Any) -> Writer:
    def write(prompts: list[list[int]], how: Sampling, end: int, done: Done, device: str) -> list[list[int]]:
        width = max(map(len, prompts))
        ids = torch.tensor([[end] * (width - len(prompt)) + prompt for prompt in prompts], device=device)
        mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=device)
        sampled = {"temperature": how.temperature, "top_p": how.top_p, "top_k": 0} if how.temperature > 0 else {}
        settings = GenerationConfig(
            do_sample=how.temperature > 0, max_new_tokens=how.new_tokens, pad_token_id=end, eos_token_id=end, **sampled
        )
        stops = StoppingCriteriaList([_Stop(done, width, end)] if how.until else [])
        out = model.generate(ids, attention_mask=mask, generation_config=settings, stopping_criteria=stops)
        return [_before(end, row) for row in out[:, width:].tolist()]

    return write


class _Stop(StoppingCriteria):
    """Ends the rows that are done."""

    def __init__(self, done: Done, width: int, end: int) -> None:
        self._done, self._width, self._end = done, width, end

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: Any) -> torch.Tensor:  # type: ignore[override]
        rows = input_ids[:, self._width :].tolist()
        return torch.tensor([self._done(n, _before(self._end, row)) for n, row in enumerate(rows)], device=input_ids.device)


def _before(end: int, row: list[int]) -> list[int]:
    return row[: row.index(end)] if end in row else row
