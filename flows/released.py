"""The model of a recipe to talk with or to hand on: the released one, or that of any stage that leaves one."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from contracts.config import nearest
from contracts.errors import ConfigError
from flows import convert, merge, posttraining, release
from flows.desk import Desk
from flows.plan import Node
from flows.stage import find
from infra.store import Artifact, ArtifactMissing
from tasks.posttraining.config import ChatTemplate

LEAVE_A_MODEL = (
    convert.KIND, posttraining.SFT, posttraining.PREFERENCE, posttraining.REINFORCEMENT, posttraining.DISTILLATION,
    merge.KIND, release.KIND,
)  # fmt: skip


@dataclass(frozen=True)
class Model:
    """A model in the store."""

    desk: Desk
    node: Node
    artifact: Artifact
    note: str
    """What a person should know about the choice; empty: it is what was asked for."""

    @property
    def recipe(self) -> str:
        """Name of the recipe."""
        return self.desk.plan.recipe.name

    @property
    def template(self) -> ChatTemplate | None:
        """The recipe's chat template; None where it has no post-training."""
        post = self.desk.plan.recipe.posttraining
        return post.template if post else None

    def folder(self) -> Path:
        """Bring the artifact here, verified; of a conversion the model lies in `model` below it."""
        return self.desk.store.materialise(self.artifact, self.desk.site.scratch / "artifacts")


def model_of(desk: Desk, stage: str | None = None) -> Model:
    """The model that `stage` left; without a stage the released one, or where nothing is released the latest of the line.

    Raises:
        ConfigError: no stage of that name, or one that leaves no model.
        ArtifactMissing: it is not in the store; or no model at all.
    """
    models = sorted((node for node in desk.plan if node.kind in LEAVE_A_MODEL), key=lambda node: node.kind is not convert.KIND)
    names = [node.name for node in models]
    if stage is not None and stage not in names:
        raise ConfigError(f"no stage '{stage}' leaves a model here{nearest(stage, names)}", do=f"choose one of: {', '.join(names)}")
    for node in reversed(models):
        artifact = find(node, desk) if stage in (None, node.name) else None
        if artifact is not None:
            return Model(desk, node, artifact, _note(desk, node, stage))
    what = f"the model of '{stage}' is not" if stage else f"no model of {desk.plan.recipe.name} is"
    raise ArtifactMissing(f"{what} in {desk.store.url}", do=run_line(desk, stage or ""))


def run_line(desk: Desk, stage: str = "") -> str:
    """The command that brings a stage into being, or the whole line."""
    return f"smolflow run {stage + ' ' if stage else ''}{recipe_line(desk)}"


def recipe_line(desk: Desk) -> str:
    """The options that name this recipe to any command."""
    return " ".join([f"--recipe {desk.reference}", *(f"--set {shlex.quote(change)}" for change in desk.overrides)])


def _note(desk: Desk, node: Node, stage: str | None) -> str:
    if desk.plan.recipe.posttraining is None:
        return f"{desk.plan.recipe.name} has no post-training: its model goes on with text, it was never taught to answer"
    last = [one for one in desk.plan if one.kind is release.KIND][-1]
    return "" if stage or node is last else f"nothing is released yet: this is the latest model, of {node.name}"
