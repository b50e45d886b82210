"""The penalty for overlong answers (Smol Training Playbook, RLVR: overlong penalty, after DAPO's equation 13)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from contracts.errors import ConfigError
from tasks.posttraining.config import OverlongPenalty
from tasks.posttraining.rewards.sampled import Sampled


def penalty(tokens: int, limits: OverlongPenalty) -> float:
    """0 up to Lmax - Lcache tokens, (Lmax - Lcache - |y|) / Lcache up to Lmax, -1 beyond.

    Args:
        tokens: |y|, the end of turn included.
        limits: Lmax is `maximum`, Lcache is `window`.
    """
    free = limits.maximum - limits.window
    if tokens <= free:
        return 0.0
    return (free - tokens) / limits.window if tokens <= limits.maximum else -1.0


class Overlong:
    """The penalty as a component of the reward."""

    def __init__(self, limits: OverlongPenalty) -> None:
        self._limits = limits

    def __call__(self, answers: Sequence[Sampled]) -> Iterable[float | None]:
        """One value per answer."""
        return [penalty(one.tokens, self._limits) for one in answers]


def require_harmless(limits: OverlongPenalty, longest_correct: int | None, longest_possible: int, where: str) -> None:
    """Refuse a penalty that teaches to leave out steps, or that nothing can reach.

    Args:
        longest_correct: tokens of the longest known correct answer to a prompt, its end of turn included; None: none is known, and
            `unchecked` says so.
        longest_possible: tokens after which an answer is cut.

    Raises:
        ConfigError: the longest correct answer would be punished, or the longest possible one would not.
    """
    free = limits.maximum - limits.window
    if longest_correct is not None and longest_correct > free:
        raise ConfigError(
            f"the overlong penalty begins after {free} tokens, but a correct answer to these prompts has {longest_correct}: "
            "it would be punished for being complete",
            where=where, do=f"set overlong.maximum - overlong.window to at least {longest_correct} (and max_answer_tokens above it)",
        )  # fmt: skip
    if longest_possible <= free:
        raise ConfigError(
            f"the overlong penalty begins after {free} tokens, but answers are cut at {longest_possible}: nothing is ever punished",
            where=where, do="lower overlong.maximum, or leave `overlong` out",
        )  # fmt: skip


def unchecked(replies: int, prompts: int) -> str:
    """Why the longest correct answer is not known, or not of every prompt; empty where it is.

    Args:
        replies: prompts that bring a correct reply, whose length counts.
        prompts: all of them.
    """
    if replies == prompts:
        return ""
    if not replies:
        return f"not known: none of {prompts:,} prompts brings a correct reply"
    return f"known of {replies:,} of {prompts:,} prompts alone: the others bring no correct reply"
