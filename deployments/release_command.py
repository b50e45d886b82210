"""`smolflow push`: hand the released model to the Hugging Face hub, when a person says so."""

from __future__ import annotations

from collections.abc import Sequence

from contracts.errors import ConfigError
from deployments.output import as_json, size, table
from flows import release
from flows.desk import Desk
from flows.gate import judge
from flows.released import model_of


def push_release(recipe: str, overrides: Sequence[str], to: str, public: bool, yes: bool, json: bool) -> None:
    """Upload the artifact of the stage `release`; without `yes` only say what it holds.

    Raises:
        ConfigError: the recipe has no release, `to` names no repository, or there is no token.
        ArtifactMissing: nothing is released yet.
        GateError: a gate refuses the release.
        ResourceError: the hub does not answer, or refuses.
    """
    from tasks.reporting import push_to_hub, require_repository

    require_repository(to)
    desk = Desk.of(recipe, overrides)
    if desk.plan.recipe.posttraining is None:
        raise ConfigError(f"'{desk.plan.recipe.name}' has no post-training, so nothing of it is released", do="give it `posttraining`")
    found = model_of(desk, release.KIND.name)
    list(judge(found.node, found.artifact, desk))
    files = found.artifact.manifest.files
    if yes:
        message = f"{found.recipe}, release {found.node.fingerprint[:12]}"
        address = push_to_hub(found.folder(), to, private=not public, message=message)
    if json:
        as_json({"to": to, "files": [file.path for file in files], "pushed": address if yes else None})
    elif yes:
        print(f"pushed: {address}")
    else:
        table([(file.path, size(file.bytes)) for file in files], ("file", "size"), title=f"would go to {to}, {_seen(public)}")
        print("nothing was uploaded; add --yes to do it")


def _seen(public: bool) -> str:
    return "public if it is new" if public else "private if it is new"
