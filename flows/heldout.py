"""Test items are read once, for the model that is released: every read stands as a record beside the model that was measured."""

from __future__ import annotations

from flows.desk import Desk
from flows.plan import Node
from infra.store import Artifact

RECORD = "heldout-read-"
"""Beginning of a record's name; behind it the fingerprint of the measurement."""


def note_read(measurement: Node, artifact: Artifact, desk: Desk) -> None:
    """Write down beside the model that this measurement put the test items to it; one on the side `validation` leaves nothing."""
    from tasks.posttraining import HeldoutRead, read_skills

    model = measurement.inputs.get("model")
    measured = desk.store.find(model.fingerprint, model.name) if model and artifact.manifest.evidence.get("side") == "test" else None
    if measured is None:
        return
    scores = read_skills(desk.store.materialise(artifact, desk.site.scratch / "gates", ["skills.json"]))
    read = HeldoutRead.of(scores, measured.fingerprint, artifact.manifest.created, measurement.name)
    name = f"{RECORD}{artifact.fingerprint[:12]}"
    if read is not None and name not in desk.store.records(measured):
        desk.store.put_record(measured, name, read.model_dump(mode="json"))


def problems_of(release: Node, desk: Desk) -> list[str]:
    """What speaks against calling the release's test scores held out, by the reads of every model that it came from.

    Models that the line does not rest on (of another version of the recipe) are not asked.
    """
    from tasks.posttraining import HeldoutRead, read_problems

    found = [artifact for one in desk.plan.upstream(release) if (artifact := desk.store.find(one.fingerprint, one.name)) is not None]
    records = [(name, record) for artifact in found for name, record in desk.store.records(artifact).items()]
    reads = [HeldoutRead.parse(record, name) for name, record in records if name.startswith(RECORD)]
    return read_problems(reads, release.inputs["model"].fingerprint)
