"""Log-likelihoods of continuations from a forward pass, in batches of like length."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch


class Windowed(Protocol):
    """What is asked of the model's facts."""

    @property
    def device(self) -> str:
        """Where ids go."""

    @property
    def window(self) -> int:
        """Longest input in tokens."""


def loglikelihoods(
    logits: Callable[[torch.Tensor], torch.Tensor],
    facts: Windowed,
    requests: Sequence[tuple[Sequence[int], Sequence[int]]],
    padding: int,
    batch_size: int,
) -> list[tuple[float, bool]]:
    """For each (context, continuation) the natural log-probability of the continuation, and whether it is the greedy one.

    The longest go first, so that memory runs out at once where it does. An input longer than the window loses its beginning, as in lm-eval.
    """
    import torch
    from torch.nn.functional import cross_entropy

    rows = [(list(context) + list(continuation))[-(facts.window + 1) :] for context, continuation in requests]
    order = sorted(range(len(rows)), key=lambda number: -len(rows[number]))
    found: list[tuple[float, bool]] = [(0.0, True)] * len(rows)
    with torch.inference_mode():
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            ids = torch.full((len(batch), len(rows[batch[0]])), padding)
            for place, number in enumerate(batch):
                ids[place, : len(rows[number])] = torch.tensor(rows[number])  # padding stands right of every scored token: never seen
            ids = ids.to(facts.device)
            predicted = logits(ids[:, :-1])
            flat = cross_entropy(predicted.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")  # three times faster than [b, vocab, s]
            losses = flat.view(len(batch), -1).double().cpu()
            chosen = predicted.gather(-1, ids[:, 1:, None]).squeeze(-1)
            greedy = (chosen >= predicted.amax(-1)).cpu()  # five times faster than argmax
            for place, number in enumerate(batch):
                last = len(rows[number]) - 1
                scored = slice(max(0, last - len(requests[number][1])), last)
                found[number] = (-float(losses[place, scored].sum()), bool(greedy[place, scored].all()))
    return found
