"""What a reward is given: sampled answers with the row that their prompt came from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from contracts.errors import SmolflowError


class Sampled(NamedTuple):
    """One sampled answer."""

    prompt: Sequence[Mapping[str, Any]]
    """Messages that were answered."""
    text: str
    """What was written, think tags included, control tokens not."""
    tokens: int
    """Length |y|, the end of turn included."""
    ended: bool
    """The model closed its turn; False: cut by the length limit."""
    row: Mapping[str, Any]
    """The other columns of the prompt: `answer`, `tests`..."""


Score = Callable[[Sequence[Sampled]], Iterable[float | None]]
"""A reward: one value in [-1, 1] per answer, in order; None where it cannot say. What it yields one by one is kept when its time is up."""


class Unavailable(SmolflowError):
    """Nothing can be scored at the moment, whatever the answers: an endpoint that is down."""

    code = "reward-unavailable"


def sampled(
    prompts: Sequence[Any],
    completions: Sequence[Any],
    completion_ids: Sequence[Sequence[int]],
    columns: Mapping[str, Any],
    end_ids: frozenset[int],
) -> list[Sampled]:
    """TRL's arguments of a reward function as one record per answer.

    Args:
        completions: a text, or a list of messages of which the last one is the answer.
        columns: lists of the batch's length; anything else among TRL's keyword arguments is left out.
        end_ids: tokens that end a turn.
    """
    rows = {name: values for name, values in columns.items() if isinstance(values, list) and len(values) == len(prompts)}
    return [
        Sampled(prompt, _text(completion), len(ids), bool(ids) and ids[-1] in end_ids, {name: values[at] for name, values in rows.items()})
        for at, (prompt, completion, ids) in enumerate(zip(prompts, completions, completion_ids, strict=True))
    ]


def _text(completion: Any) -> str:
    return completion if isinstance(completion, str) else str(completion[-1].get("content") or "")
