"""tokenize: documents to Megatron's .bin/.idx shards."""

from __future__ import annotations

from flows.plan import Node, Plan, StageKind

KIND = StageKind("tokenize", 1, "text to token shards", body="tasks.data:tokenize")


def add(plan: Plan, curate: Node, tokenizer: Node) -> Node:
    """Curated documents and the tokenizer in, one pair of files per source out."""
    return plan.add("tokenize", KIND, plan.recipe.data.tokenize, curate=curate, tokenizer=tokenizer)
