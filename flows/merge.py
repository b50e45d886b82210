"""merge: candidates are made, checked and measured beside their parents; the best by its weakest skill is the final model."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from flows.plan import Node, Plan, StageKind
from tasks.merging.requests import MergeRequest

KIND = StageKind("merge", 2, "merge, and choose by the weakest skill", craft="merging")


def add(plan: Plan, models: Mapping[str, Node], converted: Callable[[str], Node], curate: Node) -> Node:
    """Every model that a candidate or the panel reads, and the measurements there are of them.

    Args:
        models: models by stage, as post-training leaves them.
        converted: the Hugging Face folder of an earlier phase, for a merge with `train-PHASE`.
        curate: documents; an input where a task is built from held-out text.
    """
    config, post = plan.recipe.merging, plan.recipe.posttraining
    assert config is not None and post is not None
    request = MergeRequest(merging=config, template=post.template, evaluation=post.evaluation)
    parents = {stage: models[stage] if stage in models else converted(stage) for stage in config.stages}
    known = {node.name: node for node in plan}
    measured = {f"measure.{stage}": known[f"measure-{stage}"] for stage in parents if f"measure-{stage}" in known}
    text = {"curate": curate} if any(task.source == "heldout" for task in post.evaluation.named_tasks().values()) else {}
    return plan.add("merge", KIND, request, **parents, **measured, **text)
