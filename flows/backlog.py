"""The backlog before a court: what is new since last time, or what a person chose, tested over a recipe that stays what it is.

`flows/docket.py` says what comes before the court this time. Its stage is `court-backlog`, run like any other. The verdicts are posted
with the next baseline as a proposal: only `smolflow adopt` makes it one.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime

from prefect import flow, get_run_logger, runtime
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.states import Completed, State

from flows.baseline import BACKLOG, bare, result_of
from flows.canary import Song, sing, week
from flows.desk import Desk
from flows.docket import Docket, baseline_case, call
from flows.elsewhere import run_elsewhere
from flows.gate import before_the_run
from flows.parameters import Canary, DeviceHours, Items, Overrides, Pool, RecipeReference, Seeds, Tokens
from flows.plan import Node
from flows.recipe import load
from flows.results import court_page
from flows.show import artifact_key
from flows.stage import already_there
from flows.stages import run_here
from flows.sweep import WAIT_SECONDS
from flows.verdicts import proposal, rows, sentences
from tasks.ablation.backlog import load as load_backlog

STAGE = f"court-{BACKLOG}"


def _run_name() -> str:
    given = runtime.flow_run.parameters
    return f"{bare(Desk.of(given['recipe'], given['overrides'])).plan.recipe.name} · backlog"


@flow(name="backlog", flow_run_name=_run_name, description=__doc__, log_prints=True)
def backlog(
    recipe: RecipeReference = "tiny",
    overrides: Overrides = [],  # noqa: B006
    items: Items = [],  # noqa: B006
    seeds: Seeds = [0, 1],  # noqa: B006
    tokens: Tokens = 0,
    pool: Pool = "cpu",
    device_hours: DeviceHours = 24.0,
    canary: Canary = True,
) -> State:
    """Modifications of the backlog, judged over a recipe.

    Args:
        recipe: the baseline.
        overrides: changes of it, each `a.b=c`.
        items: modifications to test; empty: all that no court has decided over this baseline.
        seeds: of every arm.
        tokens: of every run; 0: those of the recipe's own court, or a share of its first phase.
        pool: the work pool this run is on; stages of other pools run as deployments there.
        device_hours: what the court may take; 0: no bound but the recipe's own.
        canary: train the baseline again, once a week, and compare it with the recorded run.
    """
    log, start = get_run_logger(), Desk.of(recipe, overrides)
    given, waiting = load(recipe, overrides, start.store), load_backlog(start.site.backlog)
    docket = call(start, waiting, items, seeds, tokens, device_hours)
    for name, reason in docket.left.items():
        log.info("%s waits: %s", name, reason)
    if docket.case is None and not canary:
        return Completed(message=f"{given.name}: {_nothing(docket)}")
    for line in before_the_run(docket.desk, pool):
        log.info("%s", line)
    said = _hold(docket, pool) if docket.case is not None else [_nothing(docket)]
    if canary:
        case = docket.case or baseline_case(given, waiting, seeds, tokens)
        song = sing(start, case, week(datetime.now(UTC)), lambda node, desk: _bring(node, desk, pool))
        said.append(_sung(song, given.name))
    return Completed(message=f"{given.name}: {'; '.join(said)}")


def _nothing(docket: Docket) -> str:
    return "nothing new in the backlog" + (f", {len(docket.left)} cannot be tested now" if docket.left else "")


def _hold(docket: Docket, pool: str) -> list[str]:
    """Bring the court and all it rests on into being, and post what it decided."""
    log, desk = get_run_logger(), docket.desk
    log.info("%s", docket.plan)
    court = desk.plan.node(STAGE)
    for node in [*desk.plan.upstream(court), court]:
        _bring(node, desk, pool)
    return _post(docket, court)


def _bring(node: Node, desk: Desk, pool: str) -> None:
    """Another sweep over the same baseline may be at the same stage: it is waited for."""
    where = desk.site.pool_of(node.kind.name)
    if already_there(node, desk):
        get_run_logger().info("%s is already there (%s)", node.name, node.fingerprint[:12])
    elif where == pool:
        run_here(node, desk, pool, WAIT_SECONDS)
    else:
        run_elsewhere(node, desk, where, low_priority=True)


def _post(docket: Docket, court: Node) -> list[str]:
    desk, reference = docket.desk, docket.desk.reference
    artifact = desk.store.require(court.name, court.fingerprint)
    result = result_of(desk, artifact)
    page = court_page(desk, result, artifact)
    recipe = desk.plan.recipe
    create_table_artifact(rows(result), key=artifact_key(f"verdicts-{recipe.name}"), description=f"Changes of {recipe.name}, {result.size}")
    left = [f"* {name}: {reason}" for name, reason in docket.left.items()]
    parts = [
        f"# Court of the backlog over {recipe.name}",
        "\n".join(f"* {line}" for line in sentences(result)),
        "\n".join(["## The next baseline", "", "```", *proposal(result, artifact.fingerprint, recipe, reference), "```"]),
        *(["\n".join(["## What waits", "", *left])] if left else []),
        f"Page: `{page}`",
    ]
    create_markdown_artifact("\n\n".join(parts), key=artifact_key(f"court-{recipe.name}"), description="What the court decided")
    told = ", ".join(f"{one.modification.name} {one.state}" for one in result.decisions)
    return [told, f"page {page}", *([f"{len(docket.left)} wait"] if docket.left else [])]


def _sung(song: Song, name: str) -> str:
    changed = [f"* {one.what}: {json.dumps(one.values)}" for one in song.changed] or ["* no library, machine or code is another one"]
    head = f"# Canary {song.label} of {name}\n\n**{song.verdict.state}**: {song.verdict.sentence} (seed {song.seed})."
    text = "\n".join([head, "", "What is not the same:", "", *changed])
    create_markdown_artifact(text, key=artifact_key(f"canary-{name}"), description="The baseline trained again")
    return f"canary {song.label}: {song.verdict.state}"
