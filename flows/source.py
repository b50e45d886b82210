"""source: snapshot the inputs. Copies every document and hashes it, so that nothing outside the store can change a result later."""

from __future__ import annotations

from flows.plan import Node, Plan, StageKind

KIND = StageKind("source", 1, "copy and hash the inputs", body="tasks.data:source")


def add(plan: Plan) -> Node:
    """Its identity is what was found: content hashes and relative names of files, versions of packages, revisions of datasets."""
    from tasks.data import snapshot_digest

    config = plan.recipe.data.for_source()
    return plan.add("source", KIND, config, salt=lambda: snapshot_digest(config))
