"""Generated text: batches of prompts, sampling, and where to stop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tasks.evaluation.likelihood import Windowed
from tasks.evaluation.tokens import TextTokenizer

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Sampling:
    """How text is written."""

    new_tokens: int
    """Longest answer in tokens."""
    temperature: float = 0.0
    """0: the likeliest token each time."""
    top_p: float = 1.0
    """Share of the probability mass to draw from."""
    until: tuple[str, ...] = ()
    """Texts that end the answer and are not part of it."""
    seed: int = 0
    """Of the draws."""
    end: int | None = None
    """Token that ends the answer; unset: the one that ends a document."""


Done = Callable[[int, Sequence[int]], bool]
"""Told a row and the tokens it has written; whether it is finished."""
Writer = Callable[[list[list[int]], Sampling, int, Done, str], list[list[int]]]
"""(prompts, how, end of document, done, device) -> what was written after each prompt."""


def generate(
    writer: Writer, tokenizer: TextTokenizer, facts: Windowed, prompts: Sequence[Sequence[int]], how: Sampling, batch_size: int
) -> list[str]:
    """The text after each prompt, up to the end of a document, a text of `how.until` or `how.new_tokens` tokens.

    A prompt that leaves no room in the window loses its beginning. Prompts of like length share a batch.
    """
    import torch

    room = max(1, facts.window - how.new_tokens)
    rows = [list(prompt)[-room:] or [tokenizer.end] for prompt in prompts]
    order = sorted(range(len(rows)), key=lambda number: -len(rows[number]))
    found = [""] * len(rows)

    def done(row: int, written: Sequence[int]) -> bool:
        return bool(how.until) and any(stop in tokenizer.decode(written) for stop in how.until)

    end = tokenizer.end if how.end is None else how.end
    torch.manual_seed(how.seed)
    with torch.inference_mode():
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            written = writer([rows[number] for number in batch], how, end, done, facts.device)
            for number, ids in zip(batch, written, strict=True):
                found[number] = _cut(tokenizer.decode(ids), how.until)
    return found


def plain_writer(logits: Callable[[torch.Tensor], torch.Tensor]) -> Writer:
    """A writer that needs nothing but the forward pass, which it repeats for every token."""

    def write(prompts: list[list[int]], how: Sampling, end: int, done: Done, device: str) -> list[list[int]]:
        import torch

        rows = [list(prompt) for prompt in prompts]
        written: list[list[int]] = [[] for _ in rows]
        open_rows = set(range(len(rows)))
        for _ in range(how.new_tokens):
            ids = torch.full((len(rows), max(map(len, rows))), end)
            for number, row in enumerate(rows):
                ids[number, : len(row)] = torch.tensor(row)
            last = torch.tensor([len(row) - 1 for row in rows])
            following = draw(logits(ids.to(device))[torch.arange(len(rows)), last].float().cpu(), how)
            for number in sorted(open_rows):
                token = int(following[number])
                if token == end:
                    open_rows.discard(number)
                    continue
                rows[number].append(token)
                written[number].append(token)
                if done(number, written[number]):
                    open_rows.discard(number)
            if not open_rows:
                break
        return written

    return write


def draw(logits: torch.Tensor, how: Sampling) -> torch.Tensor:
    """One token for each row of logits [b, vocab]; nucleus sampling after Holtzman et al. 2020."""
    import torch

    if how.temperature == 0:
        return logits.argmax(-1)
    likeliest, tokens = torch.softmax(logits / how.temperature, -1).sort(-1, descending=True)
    likeliest[likeliest.cumsum(-1) - likeliest > how.top_p] = 0.0
    return tokens.gather(-1, torch.multinomial(likeliest, 1)).squeeze(-1)


def _cut(text: str, until: Sequence[str]) -> str:
    return text[: min((place for place in map(text.find, until) if place >= 0), default=len(text))]
