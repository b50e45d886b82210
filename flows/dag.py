"""The DAG of a recipe, in the order of the playbook: text, shards, courts, phases, model, evaluation, post-training, merge, report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from flows import convert, court, curate, evaluate, merge, posttraining, qualify, release, report, source, tokenize, tokenizer, train
from flows.plan import Node, Plan, StageKind
from flows.recipe import Recipe
from tasks.ablation.arms import PHASE

KINDS: tuple[StageKind, ...] = (
    *(module.KIND for module in (source, curate, tokenizer, tokenize, qualify, court, train, convert, evaluate)),
    *posttraining.KINDS,
    *(module.KIND for module in (merge, release, report)),
)

Decided = Callable[[Node], Sequence[str] | None]
"""What a court accepted, as overrides of the recipe; None: it has not decided."""


def _undecided(court: Node) -> None:
    return None


def dag(recipe: Recipe, pinned: Mapping[str, str] | None = None, decided: Decided = _undecided, like: Plan | None = None) -> Plan:
    """Every stage of `recipe` with what it reads.

    Args:
        pinned: fingerprints of stages that are taken as they are.
        decided: asked for the verdict of each court; what follows a court is made from the recipe that the court left.
        like: a plan to share nodes with.
    """
    plan = Plan(recipe, pinned, like)
    documents, tokens, shards = _text(plan)

    def branch(overrides: Sequence[str]) -> Plan:
        return dag(plan.recipe.override(overrides), like=plan)

    ablations, first = recipe.ablations, recipe.training.phases[0].name
    qualified = qualify.add(plan, ablations.qualification, branch) if ablations.qualification else None
    checkpoint: Node | None = None
    checkpoints: dict[str, Node] = {}
    for number, name in enumerate(phase.name for phase in recipe.training.phases):
        for case in ablations.courts:
            if (case.before or first) == name:
                judged = court.add(plan, case, name, branch, qualified)
                plan.decide(judged, decided(judged))
                documents, tokens, shards = _text(plan)
        checkpoint = train.add(plan, plan.recipe.training.phases[number], shards, checkpoint, end_when_diverged=name == PHASE)
        checkpoints[f"train-{name}"] = checkpoint
    assert checkpoint is not None  # a recipe has at least one phase
    converted = convert.add(plan, checkpoint, tokens, documents)
    evaluate.add(plan, model=converted, checkpoint=checkpoint, tokenizer=tokens, shards=shards, curate=documents)
    if like is None:  # a run of a sweep ends with its evaluation, and is told by the sweep's own report
        if plan.recipe.posttraining is not None:
            _after_pretraining(plan, checkpoints, converted, tokens, documents, decided)
        report.add(plan)
    for name in pinned or {}:
        plan.node(name)  # an unknown name is refused, with the known ones
    return plan


def _after_pretraining(plan: Plan, checkpoints: Mapping[str, Node], base: Node, tokens: Node, documents: Node, decided: Decided) -> None:
    """Steps, merge and release; the last step is released where nothing is merged."""
    models = posttraining.add(plan, base, tokens, documents, decided)
    final = list(models.values())[-1]
    if plan.recipe.merging is not None:
        final = merge.add(plan, models, lambda stage: convert.add(plan, checkpoints[stage], tokens, documents, stage), documents)
    posttraining.measure(plan, "release", final, documents, test=True)
    release.add(plan, final, posttraining.vibe(plan, final))


def _text(plan: Plan) -> tuple[Node, Node, Node]:
    """Documents, tokenizer and shards; added anew where a court changed what they are made from."""
    documents = curate.add(plan, source.add(plan))
    tokens = tokenizer.add(plan, documents)
    return documents, tokens, tokenize.add(plan, documents, tokens)
