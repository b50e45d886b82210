"""The DAG of a recipe, in the order of the playbook: text, documents, tokenizer, shards, phases, model, evaluation, report."""

from __future__ import annotations

from collections.abc import Mapping

from flows import convert, curate, evaluate, report, source, tokenize, tokenizer, train
from flows.plan import Node, Plan, StageKind
from flows.recipe import Recipe

KINDS: tuple[StageKind, ...] = tuple(
    module.KIND for module in (source, curate, tokenizer, tokenize, train, convert, evaluate, report)
)  # fmt: skip


def dag(recipe: Recipe, pinned: Mapping[str, str] | None = None) -> Plan:
    """Every stage of `recipe` with what it reads. `pinned` gives fingerprints of stages that are taken as they are."""
    plan = Plan(recipe, pinned)
    raw = source.add(plan)
    documents = curate.add(plan, raw)
    tokens = tokenizer.add(plan, documents)
    shards = tokenize.add(plan, documents, tokens)
    checkpoint: Node | None = None
    for phase in recipe.training.phases:
        checkpoint = train.add(plan, phase, shards, checkpoint)
    assert checkpoint is not None  # a recipe has at least one phase
    model = convert.add(plan, checkpoint, tokens, documents)
    evaluate.add(plan, model=model, checkpoint=checkpoint, tokenizer=tokens, shards=shards, curate=documents)
    report.add(plan)
    for name in pinned or {}:
        plan.node(name)  # an unknown name is refused, with the known ones
    return plan
