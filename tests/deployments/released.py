"""A store in which a recipe's stages have left models: tiny ones, committed as they are."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from flows.desk import Desk
from infra.store import Artifact
from tests.tasks.posttraining.lab import write_model
from tests.tasks.posttraining.material import train_tokenizer

RECIPE = "smoke-post"
CARD = "# smoke-post\n\nWhat it is.\n"


def tiny_model(folder: Path) -> Path:
    """A random model of 2 layers x 32 with its tokenizer."""
    return write_model(train_tokenizer(folder), folder / "model")


def leave(desk: Desk, stage: str, files: Path, **more: Any) -> Artifact:
    """Commit a folder as the artifact of a stage."""
    node = desk.plan.node(stage)
    with desk.store.begin(node.name, node.workspace_key) as workspace:
        return workspace.commit(node.fingerprint, [workspace.put("result", files)], config=node.recorded(), **more)


def leave_model(desk: Desk, stage: str, model: Path, scratch: Path) -> Artifact:
    """Commit a model as a stage leaves it: of a conversion below `model`, of a release with its card."""
    out = scratch / stage
    shutil.copytree(model, out / "model" if stage == "convert" else out)
    if stage == "release":
        (out / "README.md").write_text(CARD)
    return leave(desk, stage, out, metrics={"accuracy/greedy": 0.5} if stage == "release" else {})
