"""train: one phase of training under torchrun. Each phase is an artifact of its own; the next one starts from it."""

from __future__ import annotations

from contracts.config import identity
from flows.plan import Node, Plan, StageKind
from tasks.training.config import Job, Phase, workspace_identity

KIND = StageKind("train", 2, "train one phase", craft="training")


def add(plan: Plan, phase: Phase, shards: Node, parent: Node | None, *, end_when_diverged: bool = False) -> Node:
    """Model, optimizer, seed and the phase are its identity; its workspace leaves the length out, so a longer phase goes on.

    Args:
        end_when_diverged: a run that diverges is a result, not a failure (an arm of an ablation).
    """
    model, training = plan.recipe.model, plan.recipe.training
    seed = training.seed if phase.seed is None else phase.seed
    own = phase.model_copy(update={"seed": None})  # said once: a seed of its own that is the training's is no other phase
    job = Job(model=model, phase=own, optimizer=training.optimizer, seed=seed, end_when_diverged=end_when_diverged)
    again = {"repeat": phase.repeat} if phase.repeat else {}
    more = {"parent": parent} if parent is not None else {}
    return plan.add(
        f"train-{phase.name}",
        KIND,
        job.model_dump(mode="json"),
        hashed=identity(job) | again,
        workspace_hashed=workspace_identity(job) | again,
        processes=phase.layout.world_size,
        tokenize=shards,
        **more,
    )
