"""Whether conversations should share sequences, and what it does to steps and batches.

SmolLM3's ablation: packed training takes 3.8 to 5.3 times less time, but a packed batch of 128 sequences holds 24 times the tokens, and
scores fall from an effective batch of 32 on (IFEval 65 at 32, 60 at 128, against 72 unpacked). Hence: pack large sets, keep the batch at
or below 32, lower the learning rate (Smol Training Playbook, SFT: packing).
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence

from contracts.config import Config
from contracts.errors import ConfigError
from tasks.posttraining.config import Packing

STRATEGIES = {"bfd": "bfd", "ffd": "bfd", "wrapped": "wrapped"}
"""Strategy here -> name in TRL 1.16, which has no first-fit any more: best-fit decreasing wastes as little."""
LARGEST_PACKED_BATCH = 32
"""Packed sequences per step above which SmolLM3's scores fell."""
FEW_STEPS = 100
"""Steps of a whole run below which packing leaves too few updates to follow a schedule."""
TRL_CHUNK = 1000
"""Conversations that TRL packs at a time."""


class PackingPlan(Config):
    """What a step sees and how many there are."""

    packing: Packing
    """As the recipe says."""
    conversations: int
    """Conversations of one epoch."""
    sequences: int
    """Sequences of one epoch: rows of the tensor."""
    tokens: int
    """Tokens of one epoch, without padding; what is longer than a sequence is cut."""
    steps_per_epoch: int
    """Updates per epoch."""
    tokens_per_step: float
    """Mean tokens per update, without padding."""
    filled: float
    """Share of the sequences' places that hold a token (unpacked: of places up to the longest sequence)."""
    unpacked_steps: int
    """Updates per epoch were nothing packed."""
    unpacked_tokens_per_step: float
    """Mean tokens per update were nothing packed."""
    warnings: list[str]
    """What a person should know before the first step."""


def plan(lengths: Sequence[int], packing: Packing, max_length: int, batch: int, epochs: float = 1.0, device: str = "cuda") -> PackingPlan:
    """Count steps and tokens.

    Args:
        lengths: tokens of each conversation.
        batch: sequences per step.
        device: what it is trained on.

    Raises:
        ConfigError: packing on a CPU: attention over a flattened batch is quadratic in its length there (6.7k tokens/s at 495 tokens,
            2.1k at 3,960, against 8 to 9k padded).
    """
    if packing != "none" and device == "cpu":
        do = "set packing: none; padded batches are faster there"
        raise ConfigError("packed sequences are not trained on a CPU", where="posttraining.sft.packing", do=do)
    cut = [min(length, max_length) for length in lengths]
    tokens = sum(lengths) if packing == "wrapped" else sum(cut)
    sequences = _sequences(lengths if packing == "wrapped" else cut, packing, max_length)
    places = sequences * (max_length if packing != "none" else max(cut, default=1))
    steps, unpacked = math.ceil(sequences / batch), math.ceil(len(cut) / batch)
    return PackingPlan(
        packing=packing, conversations=len(cut), sequences=sequences, tokens=tokens, steps_per_epoch=steps,
        tokens_per_step=tokens / max(steps, 1), filled=tokens / max(places, 1), unpacked_steps=unpacked,
        unpacked_tokens_per_step=sum(cut) / max(unpacked, 1), warnings=_warnings(packing, batch, steps * epochs),
    )  # fmt: skip


def best_fit(lengths: Sequence[int], room: int) -> int:
    """Bins of `room` tokens that best-fit decreasing fills with sequences of at most that length."""
    free: list[int] = []  # sorted
    bins = 0
    for length in sorted(lengths, reverse=True):
        at = bisect.bisect_left(free, length)
        if at == len(free):
            bins += 1
            left = room - length
        else:
            left = free.pop(at) - length
        bisect.insort(free, left)
    return bins


def _sequences(lengths: Sequence[int], packing: Packing, room: int) -> int:
    if packing == "none":
        return len(lengths)
    chunks = [lengths[start : start + TRL_CHUNK] for start in range(0, len(lengths), TRL_CHUNK)]
    return sum(math.ceil(sum(chunk) / room) if packing == "wrapped" else best_fit(chunk, room) for chunk in chunks)


def _warnings(packing: Packing, batch: int, steps: float) -> list[str]:
    found = []
    if packing != "none" and batch > LARGEST_PACKED_BATCH:
        found.append(
            f"{batch} packed sequences per step: above {LARGEST_PACKED_BATCH} SmolLM3 lost instruction following; "
            "lower global_batch_size and the learning rate"
        )
    if packing != "none" and steps < FEW_STEPS:
        found.append(f"packing leaves {math.ceil(steps)} steps in all; a small set trains better unpacked")
    if packing == "wrapped":
        found.append("wrapped packing cuts conversations, and they see each other; take bfd for SFT")
    return found
