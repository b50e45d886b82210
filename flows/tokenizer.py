"""tokenizer: train a byte-level BPE on the curated text, or take an existing tokenizer."""

from __future__ import annotations

from flows.plan import Node, Plan, StageKind

KIND = StageKind("tokenizer", 1, "train the tokenizer", body="tasks.data:tokenizer")


def add(plan: Plan, curate: Node) -> Node:
    """Curated documents in, a tokenizer folder that transformers loads out. An existing tokenizer counts by its content."""
    from tasks.data import tokenizer_digest

    config = plan.recipe.tokenizer
    return plan.add("tokenizer", KIND, config, salt=(lambda: tokenizer_digest(config) or "") if config.path else None, curate=curate)
