"""Whether a merge is judged by what its line measures, and held to what long-context training bought: recall is lost first."""

from __future__ import annotations

from collections.abc import Sequence

from tasks.merging.config import MergingConfig
from tasks.posttraining.config import ChatEvaluation


def recall_problems(config: MergingConfig, evaluation: ChatEvaluation, sequence_lengths: Sequence[int]) -> list[str]:
    """Empty, or what is missing: a line with a long-context phase must measure recall beyond its first context on every candidate.

    SmolLM3's preference training lowered RULER unnoticed by its other evaluations (Smol Training Playbook, model merging).

    Args:
        sequence_lengths: of the training phases, in order, in tokens.
    """
    longest = max(sequence_lengths, default=0)
    if not sequence_lengths or longest <= sequence_lengths[0]:
        return []
    required = {name.partition("/")[0] for name in config.required_tasks or evaluation.tasks}
    reached = max((task.recall for name, task in evaluation.named_tasks().items() if name in required), default=0)
    if reached > sequence_lengths[0]:
        return []
    asked = f"asks for recall over no more than {reached:,}" if reached else "asks for no recall"
    return [f"training goes from {sequence_lengths[0]:,} to {longest:,} tokens, and what decides the merge {asked}"]


def unmeasured(config: MergingConfig, evaluation: ChatEvaluation) -> list[str]:
    """What is required of the panel and nothing measures: neither a skill or task of the evaluation nor one of their cells `NAME/MODE`."""
    cells = evaluation.cells()
    known = {*cells, *(cell.partition("/")[0] for cell in cells)}
    return [name for name in config.required_tasks if name not in known]
