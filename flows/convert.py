"""convert: Megatron checkpoint to a Hugging Face folder, behind the parity gate."""

from __future__ import annotations

from flows.plan import Node, Plan, StageKind

KIND = StageKind("convert", 1, "to Hugging Face, with parity", craft="conversion")


def add(plan: Plan, checkpoint: Node, tokenizer: Node, curate: Node, phase: str = "") -> Node:
    """A phase's checkpoint, the tokenizer and held-out text in; a model folder that transformers loads out.

    Args:
        phase: stage of an earlier phase, which a merge reads; empty: the last one.
    """
    name = f"convert-{phase}" if phase else KIND.name
    return plan.add(name, KIND, plan.recipe.conversion, checkpoint=checkpoint, tokenizer=tokenizer, curate=curate)
