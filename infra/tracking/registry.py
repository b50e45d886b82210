"""The model registry: a released model as a version of a registered model, found again by the fingerprint of its artifact."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from infra.store import Artifact
from infra.tracking.mlflow import Mlflow

FINGERPRINT = "fingerprint"


def register_model(server: Mlflow, name: str, artifact: Artifact, tags: Mapping[str, str], description: str = "") -> str:
    """Register an artifact as the newest version of the model `name`; one that is registered already keeps its version.

    Args:
        name: of the registered model, created if there is none: the recipe's.
        tags: beside the fingerprint and the place of the artifact.
        description: Markdown, shown on the version's page; its tags and description are renewed where the version was there.

    Returns:
        Address of the version's page.

    Raises:
        TrackingAway: the server does not answer, or refuses.
    """
    known = {FINGERPRINT: artifact.fingerprint, "uri": artifact.uri, **tags}
    server.create_model(name)
    version = server.find_version(name, FINGERPRINT, artifact.fingerprint)
    if version is None:
        version = server.create_version(name, source_of(artifact), known, description)
    else:
        server.update_version(name, version, known, description)
    return server.version_page(name, version)


def source_of(artifact: Artifact) -> str:
    """Address of an artifact for the registry.

    An MLflow server refuses local paths outside its own artifact folder: serving them would open its disk to whoever may register a model.
    An artifact of a local store is therefore named and not located; its folder is the version's tag `uri`.
    """
    remote = urlsplit(artifact.uri).scheme not in ("", "file", "local")
    return artifact.uri if remote else f"smolflow://{artifact.manifest.stage}/{artifact.fingerprint}"
