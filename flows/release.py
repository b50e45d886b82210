"""release: the final model with its card, measured once on items that nothing before has seen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from contracts.config import identity
from flows.plan import Node, Plan, StageKind
from flows.recipe import Recipe
from tasks.reporting.release_config import ReleaseConfig

if TYPE_CHECKING:
    from flows.desk import Desk

KIND = StageKind("release", 1, "the final model with its card", body="tasks.reporting:release")
SKILLS = "skills.json"


def add(plan: Plan, model: Node, vibe: Node) -> Node:
    """The model and every measurement in; a folder that a stranger can load and read out. The card tells of every stage before it.

    Args:
        vibe: what a person has read, and may have had to approve, before this model is released.
    """
    measured = {node.name: node for node in plan if node.kind.name == "measure"}
    hashed = {"recipe": plan.recipe.name, "purpose": identity(plan.recipe.purpose), "released": model.name}
    if "gguf" in (asked := _section(plan.recipe)).formats:
        hashed["gguf"] = asked.gguf_precision  # without a GGUF file it is the same release, section or none
    return plan.add("release", KIND, model.name, hashed=hashed, request=request, model=model, vibe=vibe, **measured)


def request(node: Node, desk: Desk) -> tuple[Any, dict[str, Path]]:
    """The model whole, of each measurement its answers, and the manifests of the whole line."""
    from tasks.reporting import ReleaseRequest

    line = {one.name: one for one in desk.plan.upstream(node)}
    artifacts = {name: desk.store.require(one.name, one.fingerprint) for name, one in line.items()}
    scratch = desk.site.scratch
    folders = {
        role: desk.store.materialise(artifacts[one.name], scratch / "artifacts")
        if role == "model"
        else desk.store.materialise(artifacts[one.name], scratch / "release", [SKILLS])
        for role, one in node.inputs.items()
        if role != "vibe"
    }
    config = ReleaseRequest(
        **_section(desk.plan.recipe).model_dump(),
        recipe={"name": desk.plan.recipe.name, "purpose": desk.plan.recipe.purpose.model_dump(mode="json")},
        released=str(node.config),
        manifests={name: artifact.manifest.model_dump(mode="json") for name, artifact in artifacts.items()},
        records={name: desk.store.records(artifact) for name, artifact in artifacts.items()},
    )
    return config, folders


def require_formats(recipe: Recipe) -> None:
    """Refuse a recipe that wants released what this machine cannot write.

    Raises:
        ConfigError: llama.cpp would compute another model from the file.
        ResourceError: a GGUF file is wanted, and llama.cpp's converter is not here.
    """
    if "gguf" not in _section(recipe).formats:
        return
    from tasks.conversion import require_converter, require_rope

    if not all(recipe.model.rope_layers):
        require_rope(recipe.model.rope_layers)
    require_converter()


def _section(recipe: Recipe) -> ReleaseConfig:
    return recipe.release or ReleaseConfig()
