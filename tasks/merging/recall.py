"""Whether a merge is judged by what its line measures, and held to what long-context training bought: recall is lost first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from tasks.merging.config import MergingConfig
from tasks.posttraining.config import Mode

RECALL = ("ruler", "niah", "needle", "recall")
"""Parts of names of tasks that ask for recall over a long context."""


def recall_problems(config: MergingConfig, sequence_lengths: Sequence[int]) -> list[str]:
    """Empty, or what is missing: a line with a long-context phase must measure recall on every candidate.

    SmolLM3's preference training lowered RULER unnoticed by its other evaluations (Smol Training Playbook, model merging).

    Args:
        sequence_lengths: of the training phases, in order, in tokens.
    """
    longest = max(sequence_lengths, default=0)
    if not sequence_lengths or longest <= sequence_lengths[0] or any(part in name for name in config.required_tasks for part in RECALL):
        return []
    return [
        f"training goes from {sequence_lengths[0]:,} to {longest:,} tokens, and merging.required_tasks names nothing that asks for recall "
        f"over them ({', '.join(RECALL)})"
    ]


def unmeasured(config: MergingConfig, skills: Sequence[str]) -> list[str]:
    """What is required of the panel and nothing measures: all but the generated skills, and their cells `SKILL/MODE`."""
    cells = {*skills, *(f"{skill}/{mode}" for skill in skills for mode in get_args(Mode))}
    return [name for name in config.required_tasks if name not in cells]
