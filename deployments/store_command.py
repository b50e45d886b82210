"""Commands that look into the store: explain, ls, show, gc, report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from contracts.errors import ConfigError, SmolflowError
from deployments.output import as_json, size, table
from flows.baseline import rulings
from flows.desk import Desk
from flows.explain import explain
from flows.plan import Node
from flows.recipe import names
from flows.results import REPORT, result
from infra.site import load as load_site
from infra.store import Artifact, Store


def explain_recipe(recipe: str, overrides: Sequence[str], json: bool) -> None:
    """Print every stage's outlook."""
    reasons = explain(Desk.of(recipe, overrides))
    if json:
        as_json([asdict(reason) for reason in reasons])
        return
    rows = [(r.stage, r.verdict, "; ".join(r.because), "unknown" if r.seconds is None else f"{r.seconds:.1f} s") for r in reasons]
    table(rows, ("stage", "outlook", "because", "cost last time"))


def list_artifacts(stage: str | None, json: bool) -> None:
    """Print the store's artifacts, newest first."""
    store = Store.open(load_site().store)
    found = [artifact for artifact in store.artifacts() if stage in (None, artifact.stage)]
    if json:
        as_json([_summary(artifact) for artifact in found])
        return
    rows = [_summary(artifact) for artifact in found]
    cells = [(row["stage"], row["fingerprint"][:12], row["created"], size(row["bytes"]), f"{row['seconds']:.1f} s") for row in rows]
    table(cells, ("stage", "fingerprint", "committed", "size", "took"), title=store.url)


def show_artifact(beginning: str, json: bool) -> None:
    """Print one artifact with its files, gates and lineage.

    Raises:
        ConfigError: no artifact, or more than one, begins like that.
    """
    store = Store.open(load_site().store)
    matches = [artifact for artifact in store.artifacts() if artifact.fingerprint.startswith(beginning)]
    if len(matches) != 1:
        raise ConfigError(f"{len(matches)} artifacts begin with '{beginning}'", do="see `smolflow ls`, and give more of the fingerprint")
    artifact = matches[0]
    records, lineage = store.records(artifact), _lineage(artifact, store)
    if json:
        as_json({"manifest": artifact.manifest.model_dump(mode="json"), "records": records, "lineage": lineage})
        return
    manifest = artifact.manifest
    print(f"{artifact.stage} {artifact.fingerprint}\n{artifact.uri}\n")
    table([(f.path, size(f.bytes), f.sha256[:12]) for f in manifest.files], ("file", "size", "sha256"))
    table([*manifest.counts.items(), *((name, f"{value:.6g}") for name, value in manifest.metrics.items())], ("figure", "value"))
    notes = {name: record.get("waiver") or "; ".join(record.get("problems", [])) for name, record in records.items()}
    table([(name, record.get("verdict"), notes[name]) for name, record in records.items()], ("gate", "verdict", "note"))
    table(
        [("  " * row["depth"] + row["stage"], row["fingerprint"][:12], row["created"]) for row in lineage],
        ("lineage", "fingerprint", "committed"),
    )


def collect_garbage(recipes: Sequence[str], dry_run: bool, json: bool) -> None:
    """Remove (or only list) what none of `recipes` needs. Lineage and checkpoints of interrupted runs are kept.

    Raises:
        ConfigError: something would be removed, but nothing is named that stays.
    """
    if not recipes and not dry_run:
        raise ConfigError("gc without --keep would take every artifact", do="name what stays: smolflow gc --keep tiny --keep my.yaml")
    store = Store.open(load_site().store)
    desks = [Desk.of(recipe) for recipe in recipes or names() if recipes or _reachable(recipe)]
    keep = {identity for desk in desks for node in _with_arms(desk) for identity in (node.fingerprint, node.workspace_key)}
    keep |= {ruling.artifact.fingerprint for desk in desks for ruling in rulings(desk)}  # without them the backlog would be tested again
    gone = store.gc(keep, dry_run=dry_run)
    if json:
        as_json([asdict(one) for one in gone])
        return
    table([(one.kind, one.path, size(one.bytes)) for one in gone], ("what", "where", "size"), title="would go" if dry_run else "removed")


def _with_arms(desk: Desk) -> list[Node]:
    """Every stage whose identity is known, the runs of its sweeps among them."""
    own = [node for node in desk.plan if node.awaits is None]
    return own + [node for sweep in own for arm in sweep.arms for node in (arm.train, arm.evaluate)]


def _reachable(recipe: str) -> bool:
    """Whether a recipe's fingerprints can be told here: its sources may lie on a hub or in a bucket that is out of reach."""
    try:
        return bool([node.fingerprint for node in _with_arms(Desk.of(recipe))])
    except SmolflowError:
        return False


def locate_report(recipe: str, overrides: Sequence[str], json: bool) -> None:
    """Print the path of the report page, materialised beside the other results.

    Raises:
        ArtifactMissing: the recipe has not been run to its end.
    """
    desk = Desk.of(recipe, overrides)
    page = str(result(desk, *REPORT))
    if json:
        as_json({"report": page})
    else:
        print(page)


def _summary(artifact: Artifact) -> dict[str, Any]:
    manifest = artifact.manifest
    return {
        "stage": artifact.stage,
        "fingerprint": artifact.fingerprint,
        "created": manifest.created,
        "bytes": sum(file.bytes for file in manifest.files),
        "seconds": float(manifest.cost.get("seconds", 0.0)),
        "uri": artifact.uri,
    }


def _lineage(artifact: Artifact, store: Store) -> list[dict[str, Any]]:
    """Every artifact it came from, once, each under the first that names it: without that the paths of the DAG multiply."""
    rows: list[dict[str, Any]] = []
    seen: set[str] = set()

    def visit(one: Artifact, depth: int) -> None:
        rows.append({"depth": depth, **_summary(one)})
        seen.add(one.fingerprint)
        for reference in one.manifest.inputs.values():
            parent = None if reference.fingerprint in seen else store.find(reference.fingerprint, reference.stage)
            if parent is not None:
                visit(parent, depth + 1)

    visit(artifact, 0)
    return rows
