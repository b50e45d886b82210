"""`smolflow run`: plan, skip what is done, submit, follow, and say where to look."""

from __future__ import annotations

import logging
import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from contextlib import nullcontext, redirect_stdout
from typing import Any

from contracts.errors import ResourceError, StageError
from deployments.output import as_json, table
from flows.desk import Desk
from flows.gate import before_the_run
from flows.plan import Node, Undecided
from flows.recipe import BUILT_IN, load
from flows.registry import register
from flows.released import recipe_line
from flows.results import CARD, REPORT, final_model, result
from flows.stage import already_there
from infra.store import ArtifactMissing


def dry(recipe: str, overrides: Sequence[str], json: bool) -> None:
    """Validate and plan, from the same planner as a launch; run nothing."""
    from flows.preview import preview

    plan = preview(Desk.of(recipe, overrides))
    if json:
        as_json(plan.data)
    else:
        print(plan.text)


def run_recipe(recipe: str, overrides: Sequence[str], stage: str | None, here: bool, json: bool) -> None:
    """Run the playbook or one stage, follow it to its end, and print where to look.

    Raises:
        ConfigError: the recipe is wrong, or names no such stage.
        GateError: training is not justified, not affordable, or a layout cannot work.
        ResourceError: the local stack is not up, or the machine is too small for the recipe.
        StageError: the run did not complete.
    """
    desk = Desk.of(_published(recipe), overrides)
    if desk.reference != recipe and not json:
        print(f"{recipe} is published as {desk.reference}: the name it has in the Prefect UI's form", flush=True)
    wanted = [desk.plan.node(stage)] if stage else list(desk.plan)
    _court_has_decided(wanted[0], recipe)
    done = {node.name for node in wanted if already_there(node, desk)}
    if len(done) < len(wanted):
        if stage:
            _inputs_there(wanted[0], desk, recipe)
        if any(node.kind.craft == "training" and node.name not in done for node in wanted):
            # A plan that cannot work is refused here, not in a run's log; what else there is to say the run itself logs.
            list(before_the_run(desk, desk.site.pool_of("playbook")))
        with redirect_stdout(sys.stderr) if json else nullcontext():  # a program reads the answer alone
            _run(desk, wanted, done, stage, here)
        desk = desk.again()  # a court may have decided on the way
        wanted = [desk.plan.node(stage)] if stage else list(desk.plan)
    else:
        for node in wanted:
            register(node, desk, logging.getLogger("smolflow"))  # MLflow may have been away when it was made
        if not json:
            print(f"nothing to do: {'the stage is' if stage else f'all {len(wanted)} stages are'} in {desk.store.url}")
    _where_to_look(desk, wanted, stage, json)


def _inputs_there(node: Node, desk: Desk, recipe: str) -> None:
    for one in desk.plan.needed_first(node):
        if desk.store.find(one.fingerprint, one.name) is None:
            changes = "".join(f" --set {shlex.quote(change)}" for change in desk.overrides)
            do = f"smolflow run {one.name} --recipe {recipe}{changes} (or `smolflow run --recipe {recipe}{changes}` for the whole line)"
            raise ArtifactMissing(f"'{node.name}' reads '{one.name}', which is not in {desk.store.url}", do=do)


def _court_has_decided(node: Node, recipe: str) -> None:
    """Refuse a stage alone whose recipe a court has yet to settle."""
    if node.awaits is not None:
        do = f"smolflow run {node.awaits.name} --recipe {recipe} (or the whole line)"
        raise Undecided(f"what '{node.name}' will be is known once '{node.awaits.name}' has decided", do=do)


def _published(recipe: str) -> str:
    """A built-in name as it is; a person's own file goes to the store, so that any worker reads the same recipe."""
    if recipe.startswith("store:") or (BUILT_IN / f"{recipe}.yaml").is_file():
        return recipe
    return Desk.of(recipe).store.publish(load(recipe).to_yaml(), kind="recipe")  # as written, not as a court left it


def _run(desk: Desk, wanted: list[Node], done: set[str], stage: str | None, here: bool) -> None:
    from infra.stack import client_environment, is_up

    if not is_up(desk.site):
        raise ResourceError("the local stack is not up", do="smolflow up", where=desk.site.prefect.url)
    os.environ.update(client_environment(desk.site))
    flow_name = wanted[0].kind.name if stage else "playbook"
    pool = desk.site.pool_of(wanted[0].kind.name) if stage else desk.site.pool_of("playbook")
    parameters: dict[str, Any] = {"recipe": desk.reference, "overrides": list(desk.overrides), "pool": pool}
    if stage:
        parameters["stage"] = stage
    if here:
        print("running in this process, without a worker: Cancel and Retry in the UI cannot reach it")
        _in_process(flow_name, parameters)
    else:
        _submitted(desk, f"{flow_name}/{pool}", parameters, wanted, done)


def _in_process(flow_name: str, parameters: dict[str, Any]) -> None:
    from flows.vibe_check import in_terminal

    in_terminal.set(True)
    if flow_name == "playbook":
        from flows.playbook import playbook

        playbook(**parameters)
    else:
        from flows.stages import STAGES

        STAGES[flow_name](**parameters)


def _submitted(desk: Desk, deployment: str, parameters: dict[str, Any], wanted: list[Node], done: set[str]) -> None:
    from prefect import get_client

    from deployments.follow import Line, follow

    title = wanted[0].name if parameters.get("stage") else "playbook"
    with get_client(sync_client=True) as client:
        target = client.read_deployment_by_name(deployment)
        run = client.create_flow_run_from_deployment(target.id, parameters=parameters, name=f"{desk.plan.recipe.name} · {title}")
    url = f"{desk.site.prefect.url}/runs/flow-run/{run.id}"
    print(f"{run.name}: {url}", flush=True)
    state = follow(run.id, [Line(node.name, "reused" if node.name in done else "waiting") for node in wanted])
    if not state.is_completed():
        raise StageError(
            f"the run ended {state.name}: {state.message or 'no message'}",
            where=url,
            do="run the same command again, or Retry in the UI: both go on from the newest checkpoint; `smolflow logs` shows the log",
        )


def _where_to_look(desk: Desk, wanted: list[Node], stage: str | None, json: bool) -> None:
    artifacts = {node.name: desk.store.require(node.name, node.fingerprint) for node in wanted}
    places: dict[str, str] = {"prefect": desk.site.prefect.url, "mlflow": desk.site.mlflow.url}
    if stage is None:
        model = final_model(desk)
        places |= {"report": str(result(desk, *REPORT)), "model": str(model)}
        places |= {"card": str(model / CARD)} if (model / CARD).is_file() else {}
    if json:
        as_json({"places": places, "stages": {name: {"fingerprint": a.fingerprint, "uri": a.uri} for name, a in artifacts.items()}})
        return
    if stage is not None:
        print(f"{stage}: {artifacts[stage].uri}")
        return
    print()
    shown = {"report": "report", "Prefect": "prefect", "MLflow": "mlflow", "model": "model", "its card": "card"}
    table([(name, places[place]) for name, place in shown.items() if place in places], ("where to look", ""))
    if "card" in places:
        print(f"\ntalk with it:\n  {_program()} chat {recipe_line(desk)}")
    print(f"""
load it and generate:
  {sys.executable} -c "from transformers import pipeline; \
    print(pipeline('text-generation', '{places["model"]}')('The function returns', max_new_tokens=40)[0]['generated_text'])"
stop the local stack: {_program()} down""")


def _program() -> str:
    """How this command is called here."""
    return "smolflow" if shutil.which("smolflow") else sys.argv[0]
