"""Answers of a model to many prompts: batched, left-padded, greedy or sampled; what pairs, measurements and the vibe check are made of."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from contracts.errors import InputError
from tasks.posttraining.config import ChatTemplate
from tasks.posttraining.conversation import Sample
from tasks.posttraining.model_folder import load_model, load_renderer
from tasks.posttraining.rendering import Renderer


class Answer(NamedTuple):
    """One generated answer."""

    text: str
    """With its think tags, without control tokens."""
    ended: bool
    """It closed its turn; False: the length limit cut it."""
    tokens: int
    """Written, the end of the turn included."""


@dataclass(frozen=True)
class Sampler:
    """A model with its tokenizer and template, ready to answer."""

    model: Any
    renderer: Renderer

    @classmethod
    def load(cls, folder: Path, template: ChatTemplate) -> Sampler:
        """The model of a folder with the recipe's template on its tokenizer: on a GPU in bfloat16 where there is one, else in float32.

        Raises:
            ConfigError, InputError: as `load_renderer` and `load_model` say.
        """
        import torch

        device = "cuda" if torch.cuda.is_available() else "cpu"
        renderer = load_renderer(folder, template)
        model = load_model(folder, device)
        return cls((model.to(device, torch.bfloat16) if device == "cuda" else model).eval(), renderer)

    def answers(
        self,
        prompts: Sequence[Sample],
        max_tokens: int,
        temperature: float = 0.0,
        keys: Sequence[str] | None = None,
        batch_size: int = 256,
        tick: Callable[[int], None] = lambda done: None,
        streamer: Any = None,
    ) -> list[Answer]:
        """One answer to each prompt, in order.

        Args:
            prompts: conversations up to the answer.
            max_tokens: longest answer, its end of turn included.
            temperature: 0 takes the likeliest token each time.
            keys: seed of each prompt's own random numbers. An answer depends on its key and its prompt, not on what stands beside it in a
                batch (up to rounding), so that work that was interrupted, or cut into other batches, ends alike.
            tick: called with the number of prompts answered so far.
            streamer: one of transformers, which is given the tokens of a single prompt's answer as they are written.

        Raises:
            InputError: a prompt that leaves no room for an answer.
        """
        ids = [self.renderer.encode(self.renderer.text(prompt, prompt=True)) for prompt in prompts]
        self._refuse_long(prompts, ids, max_tokens)
        order = sorted(range(len(ids)), key=lambda at: len(ids[at]))  # like lengths side by side: little padding
        found: dict[int, Answer] = {}
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            seeds = [keys[at] if keys else str(at) for at in batch]
            rows = self._generate([ids[at] for at in batch], max_tokens, temperature, seeds, streamer)
            found.update(zip(batch, map(self._answer, rows), strict=True))
            tick(len(found))
        return [found[at] for at in range(len(ids))]

    def fits(self, prompt: Sample, max_tokens: int) -> bool:
        """Whether the model's window holds the prompt and an answer of that length."""
        return len(self.renderer.encode(self.renderer.text(prompt, prompt=True))) + max_tokens <= int(
            self.model.config.max_position_embeddings
        )

    def _refuse_long(self, prompts: Sequence[Sample], ids: Sequence[list[int]], max_tokens: int) -> None:
        window = int(self.model.config.max_position_embeddings)
        for prompt, tokens in zip(prompts, ids, strict=True):
            if len(tokens) + max_tokens > window:
                said = f"a prompt of {len(tokens):,} tokens leaves no room for {max_tokens:,} more: the model sees {window:,}"
                raise InputError(said, where=prompt.where, do="leave long prompts out, or ask for shorter answers")

    def _generate(self, prompts: list[list[int]], max_tokens: int, temperature: float, seeds: list[str], streamer: Any) -> list[list[int]]:
        import torch
        from transformers import GenerationConfig
        from transformers.generation import LogitsProcessorList

        tokenizer, width = self.renderer.tokenizer, max(map(len, prompts))
        pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
        device = self.model.device
        ids = torch.tensor([[pad] * (width - len(prompt)) + prompt for prompt in prompts], device=device)
        mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=device)
        settings = GenerationConfig(max_new_tokens=max_tokens, do_sample=False, eos_token_id=tokenizer.eos_token_id, pad_token_id=pad)
        noise = LogitsProcessorList([_noise(seeds, temperature, device)] if temperature > 0 else [])
        with torch.inference_mode():
            out = self.model.generate(ids, attention_mask=mask, generation_config=settings, logits_processor=noise, streamer=streamer)
        return [list(row) for row in out[:, width:].tolist()]

    def _answer(self, row: list[int]) -> Answer:
        end = self.renderer.tokenizer.eos_token_id
        ended = end in row
        written = row[: row.index(end)] if ended else row
        return Answer(self.renderer.written(written), ended, len(written) + ended)


def _noise(seeds: Sequence[str], temperature: float, device: Any) -> Any:
    """Sampling as the likeliest of perturbed scores (the Gumbel-max trick), each row with a generator of its own.

    argmax(logits / T + g) with g = -log(-log(u)) is distributed as softmax(logits / T).
    """
    import torch
    from transformers.generation import LogitsProcessor

    generators = [torch.Generator(device=device).manual_seed(_number(seed)) for seed in seeds]

    class Gumbel(LogitsProcessor):
        def __call__(self, input_ids: Any, scores: Any) -> Any:
            drawn = torch.stack([torch.rand(scores.shape[-1], generator=one, device=device) for one in generators])
            return scores.float() / temperature - torch.log(-torch.log(drawn.clamp(1e-10, 1 - 1e-7)))

    return Gumbel()


def _number(seed: str) -> int:
    return int.from_bytes(hashlib.blake2b(seed.encode(), digest_size=7).digest(), "big")
