"""Which conversations of each source are trained on, counted in tokens.

s1k was 1 % of the examples of SmolLM3's baseline set and 11 % of its tokens, so shares of examples say little about what a model learns
from (Smol Training Playbook, SFT: baseline data).
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from contracts.config import Config
from contracts.errors import InputError
from tasks.posttraining.config import Mode


class SourceShare(Config):
    """One source in a mixture."""

    source: str
    """Its name."""
    mode: Mode
    """Whether its answers carry reasoning."""
    conversations: int
    """Conversations it has."""
    used: int
    """Conversations that one epoch takes, repetitions counted."""
    tokens: int
    """Tokens of those."""
    trained: int
    """Tokens of those that carry loss."""
    token_share: float = 0.0
    """Of all tokens of the mixture."""
    example_share: float = 0.0
    """Of all conversations of the mixture."""


def take(lengths: Sequence[int], weight: float, seed: str) -> list[int]:
    """Indices of the conversations that hold `weight` of a source's tokens, in the source's order; above 1 it is repeated.

    Whole conversations are drawn without replacement until their tokens come nearest to the share; a weight of 1 takes all.

    Args:
        lengths: tokens of each conversation.
        seed: of the draw; the same text draws the same conversations.
    """
    whole, left = divmod(weight, 1.0)
    chosen = list(range(len(lengths))) * int(whole)
    target, order = left * sum(lengths), list(range(len(lengths)))
    random.Random(seed).shuffle(order)
    part: list[int] = []
    held = 0
    for index in order:
        if abs(held + lengths[index] - target) >= abs(held - target):
            break
        part.append(index)
        held += lengths[index]
    return chosen + sorted(part)


def with_shares(sources: Sequence[SourceShare]) -> list[SourceShare]:
    """The table with each source's share of all.

    Raises:
        InputError: nothing in it.
    """
    tokens, used = sum(one.tokens for one in sources), sum(one.used for one in sources)
    if not used or not tokens:
        raise InputError(
            "the mixture is empty", where="posttraining.sft.sources", do="raise the weights, or give sources with conversations"
        )
    return [one.model_copy(update={"token_share": one.tokens / tokens, "example_share": one.used / used}) for one in sources]


def by_mode(sources: Sequence[SourceShare]) -> dict[str, float]:
    """Mode -> share of the mixture's tokens."""
    found: dict[str, float] = {}
    for one in sources:
        found[one.mode] = found.get(one.mode, 0.0) + one.token_share
    return found


def weights_for(sources: Sequence[SourceShare], weights: Mapping[str, float], share: float = 0.5) -> dict[str, float]:
    """Weights that would give reasoning answers this share of the tokens, found by using less of the mode that has too many.

    Args:
        weights: the ones that gave `sources`.
        share: wanted for the mode `think`.
    """
    now = by_mode(sources)
    if len(now) < 2 or not 0 < share < 1:
        return dict(weights)
    think, other = now["think"], now["no_think"]
    factor = {"think": min(1.0, share * other / ((1 - share) * think)), "no_think": min(1.0, (1 - share) * think / (share * other))}
    return {one.source: weights[one.source] * factor[one.mode] for one in sources}
