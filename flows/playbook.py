"""The playbook: the whole line from raw text to a report, as one Prefect flow. Start reading here.

`flows/dag.py` says which stages there are and what each reads; `flows/stage.py` how one is brought into being; `flows/gate.py` what
stops the line. This flow walks them in order: a stage that the store already holds is passed by, one on the playbook's own pool
runs here, any other as a deployment run on its pool.
"""

from __future__ import annotations

from prefect import flow, get_run_logger, runtime
from prefect.states import Completed, State

from flows import court
from flows.desk import Desk
from flows.elsewhere import run_elsewhere
from flows.gate import before_the_run
from flows.parameters import Inputs, Overrides, Pool, RecipeReference
from flows.plan import Node
from flows.show import playbook_in_mlflow, show_plan, show_report
from flows.stage import already_there
from flows.stages import STAGES


def _run_name() -> str:
    given = runtime.flow_run.parameters
    return f"{Desk.of(given['recipe'], given['overrides']).plan.recipe.name} · playbook"


def _next(desk: Desk, states: dict[str, str]) -> Node | None:
    return next((node for node in desk.plan if node.name not in states), None)


def _decided(before: Desk, after: Desk) -> set[str]:
    """Stages before the court that its verdict makes anew: a change of the tokenizer, for example, that was accepted."""
    known = {node.name: node.fingerprint for node in before.plan if node.awaits is None}
    return {node.name for node in after.plan if node.awaits is None and known.get(node.name, node.fingerprint) != node.fingerprint}


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
    with playbook_in_mlflow(desk):
        while (node := _next(desk, states)) is not None:
            show_plan(desk, states | {node.name: "running"})
            pool_of_stage = desk.site.pool_of(node.kind.name)
            try:
                if already_there(node, desk):
                    log.info("%s is already there (%s), nothing to do", node.name, node.fingerprint[:12])
                    states[node.name] = "reused"
                elif pool_of_stage == pool:
                    STAGES[node.kind.name](recipe=recipe, overrides=overrides, pool=pool, inputs=inputs, stage=node.name)
                    states[node.name] = "ran"
                else:
                    run_elsewhere(node, desk, pool_of_stage)
                    states[node.name] = "ran"
            except Exception:
                show_plan(desk, states | {node.name: "failed"})
                raise
            if node.kind is court.KIND:
                changed = _decided(desk, desk := desk.again())
                states = {name: state for name, state in states.items() if name not in changed}
    show_plan(desk, states)
    page = show_report(desk)
    return Completed(message=f"{desk.plan.recipe.name}: {len(states)} stages, report {page}")
