"""evaluate: a suite of tasks and bits per byte on held-out text; sufficient statistics, and samples to read."""

from __future__ import annotations

from contracts.errors import ConfigError
from flows.plan import Node, Plan, StageKind

KIND = StageKind("evaluate", 3, "measure on held-out text", craft="evaluation")


def add(plan: Plan, *, model: Node | None, checkpoint: Node, tokenizer: Node, shards: Node, curate: Node) -> Node:
    """What is measured, the shards (for the bigram it must beat) and held-out text in; statistics and tables out.

    `evaluation.backend` decides what is measured: megatron reads the training checkpoint and the tokenizer, the others the converted model.

    Raises:
        ConfigError: the backend needs a converted model, and nothing converts it.
    """
    config = plan.recipe.evaluation
    if config.backend == "megatron":
        return plan.add("evaluate", KIND, config, checkpoint=checkpoint, tokenizer=tokenizer, tokenize=shards, curate=curate)
    if model is None:
        raise ConfigError(
            f"evaluation.backend {config.backend} measures a converted model, and this line converts none",
            do="set evaluation.backend=megatron, which measures the training checkpoint itself",
        )
    return plan.add("evaluate", KIND, config, model=model, tokenize=shards, curate=curate)
