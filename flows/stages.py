"""Every kind of stage as a Prefect flow that can be started alone."""

from __future__ import annotations

from functools import partial

from prefect import flow, get_run_logger, runtime
from prefect.flows import Flow

from contracts.errors import ConfigError
from flows import dag
from flows.desk import Desk
from flows.fence import Fence
from flows.gate import before_the_run
from flows.parameters import Inputs, Overrides, Pool, RecipeReference, StageName
from flows.plan import Node, StageKind
from flows.show import StageDisplay, artifact_key, playbook_above
from flows.stage import Watch, find, perform
from flows.sweep import Sweep
from flows.vibe_check import present


def _run_name() -> str:
    given = runtime.flow_run.parameters
    return f"{Desk.of(given['recipe'], given['overrides']).plan.recipe.name} · {given['stage'] or runtime.flow_run.flow_name}"


def run_here(node: Node, desk: Desk, pool: str, wait: float = 0.0) -> str:
    """Bring one stage into being inside the current flow run, with its progress and result in the UI; returns its fingerprint.

    Args:
        wait: seconds to wait for another run that is at the same stage; its result is then taken.
    """
    log, fence = get_run_logger(), Fence()
    with StageDisplay(node, desk, log) as display:
        if node.arms and find(node, desk) is None:
            Sweep(node, desk, pool, log, display.progress, fence.check, artifact_key(f"runs-{node.name}"), playbook_above()).run()
        shown = partial(present, node, desk=desk) if node.kind is dag.posttraining.VIBE else None
        outcome = perform(node, desk, Watch(log, display.progress, fence.check, display.during, wait, shown))
        display.done(outcome)
    return node.fingerprint


def stage_flow(kind: StageKind, example: str = "smoke") -> Flow[..., dict[str, str]]:
    """The flow of one kind of stage. Started alone it finds its inputs by the recipe's fingerprints.

    A missing one fails with the name of the stage to run first.

    Args:
        example: built-in recipe that has such a stage; the form's default.
    """

    @flow(name=kind.name, flow_run_name=_run_name, description=f"Stage {kind.name}: {kind.does}.")
    def stage(
        recipe: RecipeReference = example,
        overrides: Overrides = [],  # noqa: B006
        pool: Pool = "cpu",
        inputs: Inputs = {},  # noqa: B006
        stage: StageName = "",
    ) -> dict[str, str]:
        desk = Desk.of(recipe, overrides, inputs)
        of_this_kind = [node for node in desk.plan if node.kind is kind]
        wanted = [node for node in of_this_kind if stage in ("", node.name)]
        if not wanted:
            names = ", ".join(node.name for node in of_this_kind)
            if not names:
                raise ConfigError(f"'{desk.plan.recipe.name}' has no stage of kind {kind.name}", do=f"see how '{example}' asks for one")
            raise ConfigError(f"'{stage}' is no stage of kind {kind.name}", do=f"choose one of: {names}, or leave it empty for all")
        if kind.craft == "training" or kind.name in ("court", "qualify"):
            for line in before_the_run(desk, pool):
                get_run_logger().info("%s", line)
        return {node.name: run_here(node, desk, pool) for node in wanted}

    return stage


source = stage_flow(dag.source.KIND)
curate = stage_flow(dag.curate.KIND)
tokenizer = stage_flow(dag.tokenizer.KIND)
tokenize = stage_flow(dag.tokenize.KIND)
qualify = stage_flow(dag.qualify.KIND, "smoke-qualify")
court = stage_flow(dag.court.KIND, "smoke-court")
train = stage_flow(dag.train.KIND)
convert = stage_flow(dag.convert.KIND)
evaluate = stage_flow(dag.evaluate.KIND)
chat = stage_flow(dag.posttraining.CHAT, "smoke-post")
sft = stage_flow(dag.posttraining.SFT, "smoke-post")
pairs = stage_flow(dag.posttraining.PAIRS, "tiny")
preference = stage_flow(dag.posttraining.PREFERENCE, "smoke-post")
reinforcement = stage_flow(dag.posttraining.REINFORCEMENT, "smoke-post")
distillation = stage_flow(dag.posttraining.DISTILLATION, "smoke-distill")
measure = stage_flow(dag.posttraining.MEASURE, "smoke-post")
vibe = stage_flow(dag.posttraining.VIBE, "smoke-post")
merge = stage_flow(dag.merge.KIND, "smoke-post")
release = stage_flow(dag.release.KIND, "smoke-post")
report = stage_flow(dag.report.KIND)
STAGES: dict[str, Flow[..., dict[str, str]]] = {
    one.name: one
    for one in (
        source, curate, tokenizer, tokenize, qualify, court, train, convert, evaluate,
        chat, sft, pairs, preference, reinforcement, distillation, measure, vibe, merge, release, report,
    )
}  # fmt: skip
