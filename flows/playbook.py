"""The playbook: the whole line from raw text to a report, as one Prefect flow. Start reading here.

`flows/dag.py` says which stages there are and what each reads; `flows/stage.py` how one is brought into being; `flows/gate.py` what
stops the line. This flow walks them in order, side by side where they do not wait for one another: a stage that the store already holds
is passed by, one on the playbook's own pool runs here, any other as a deployment run on its pool.
"""

from __future__ import annotations

import itertools

from prefect import flow, get_run_logger, runtime
from prefect.states import Completed, State

from flows import court, qualify, report, train
from flows.abreast import abreast
from flows.approval import asks
from flows.desk import Desk
from flows.elsewhere import run_elsewhere
from flows.gate import before_the_run
from flows.parameters import Inputs, Overrides, Pool, RecipeReference
from flows.plan import Node
from flows.registry import register
from flows.show import playbook_in_mlflow, show_plan, show_report
from flows.stage import already_there
from flows.stages import STAGES


def _run_name() -> str:
    given = runtime.flow_run.parameters
    return f"{Desk.of(given['recipe'], given['overrides']).plan.recipe.name} · playbook"


def _next(desk: Desk, states: dict[str, str]) -> list[Node]:
    """The next stage; where it takes one processor and decides nothing, with all such that follow it up to one that is not like that.

    One that waits for a person waits alone: what fails beside it would be told only once that person has come.
    """
    waiting = [node for node in desk.plan if node.name not in states]
    return list(itertools.takewhile(lambda node: _modest(node) and not asks(node, desk.plan.recipe), waiting)) or waiting[:1]


def _modest(node: Node) -> bool:
    return node.processes == 1 and node.kind not in (court.KIND, qualify.KIND, train.KIND, report.KIND)


def _decided(before: Desk, after: Desk) -> set[str]:
    """Stages before the court that its verdict makes anew: a change of the tokenizer, for example, that was accepted."""
    known = {node.name: node.fingerprint for node in before.plan if node.awaits is None}
    return {node.name for node in after.plan if node.awaits is None and known.get(node.name, node.fingerprint) != node.fingerprint}


def _brought(node: Node, desk: Desk, pool: str) -> str:
    """Bring a stage into being, here or on its pool; 'ran', or 'reused' where it was there."""
    if already_there(node, desk):
        get_run_logger().info("%s is already there (%s), nothing to do", node.name, node.fingerprint[:12])
        register(node, desk, get_run_logger())
        return "reused"
    where = desk.site.pool_of(node.kind.name)
    if where != pool:
        run_elsewhere(node, desk, where)
    else:
        given = {"recipe": desk.reference, "overrides": list(desk.overrides), "inputs": dict(desk.pinned)}
        STAGES[node.kind.name](**given, pool=pool, stage=node.name)
    return "ran"


@flow(name="playbook", flow_run_name=_run_name, description=__doc__, log_prints=True)
def playbook(recipe: RecipeReference = "smoke", overrides: Overrides = [], pool: Pool = "cpu", inputs: Inputs = {}) -> State:  # noqa: B006
    """Raw text to an evaluated, parity-checked model with its report.

    Args:
        recipe: a built-in recipe (smoke, tiny, one-gpu, smollm3-3b) or a reference that `smolflow run` published.
        overrides: changes of the recipe, each `a.b=c`.
        pool: the work pool this run is on; stages of other pools run as deployments there.
        inputs: stages to take as they are, by fingerprint.
    """
    log = get_run_logger()
    desk = Desk.of(recipe, overrides, inputs)
    for line in before_the_run(desk, pool):
        log.info("%s", line)
    states: dict[str, str] = {}

    def bring(node: Node) -> None:
        states[node.name] = "running"
        show_plan(desk, states)
        try:
            states[node.name] = _brought(node, desk, pool)
        except BaseException:
            states[node.name] = "failed"
            show_plan(desk, states)
            raise

    with playbook_in_mlflow(desk):
        while nodes := _next(desk, states):
            if len(nodes) > 1:
                abreast(nodes, bring)
                continue
            bring(nodes[0])
            if nodes[0].kind is court.KIND:
                changed = _decided(desk, desk := desk.again())
                states = {name: state for name, state in states.items() if name not in changed}
    show_plan(desk, states)
    page = show_report(desk)
    return Completed(message=f"{desk.plan.recipe.name}: {len(states)} stages, report {page}")
