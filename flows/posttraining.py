"""After pretraining: chat data, the training steps with their parents, pairs made on policy, and a measurement of every model."""

from __future__ import annotations

from contracts.config import identity
from flows.plan import Node, Plan, StageKind
from tasks.posttraining.chat_requests import MeasureRequest, PairsRequest, VibeRequest, chat_request
from tasks.posttraining.config import AnyStep, DistillationConfig, PostTrainingConfig, PreferenceConfig, ReinforcementConfig, SftConfig
from tasks.posttraining.requests import DistillationRequest, PreferenceRequest, ReinforcementRequest, SftRequest, StepRequest

CRAFT = "posttraining"
CHAT = StageKind("chat", 1, "conversations, linted and decontaminated", craft=CRAFT)
SFT = StageKind("sft", 1, "supervised fine-tuning on conversations", craft=CRAFT)
PAIRS = StageKind("pairs", 1, "answers of the model, sorted by a verifier", craft=CRAFT)
PREFERENCE = StageKind("preference", 2, "prefer right answers to wrong ones", craft=CRAFT)
REINFORCEMENT = StageKind("reinforcement", 1, "reinforcement with verifiable rewards", craft=CRAFT)
DISTILLATION = StageKind("distillation", 1, "answer, and learn a teacher's probabilities at every token", craft=CRAFT)
MEASURE = StageKind("measure", 2, "ask held-out items and tasks", craft=CRAFT)
VIBE = StageKind("vibe", 1, "answers for a person to read", craft=CRAFT)
KINDS = (CHAT, SFT, PAIRS, PREFERENCE, REINFORCEMENT, DISTILLATION, MEASURE, VIBE)
PRETRAINED = "pretrained"


def add(plan: Plan, base: Node, tokenizer: Node, curate: Node) -> dict[str, Node]:
    """Every step of the recipe's section, parents first; the models by name of their stage, `pretrained` being `base`."""
    config = plan.recipe.posttraining
    assert config is not None
    chat = plan.add("chat", CHAT, chat_request(config), salt=lambda: _outside(config), model=tokenizer, curate=curate)
    models, measured = {PRETRAINED: base}, {PRETRAINED: measure(plan, PRETRAINED, base, curate)}
    for stage in config.in_order():
        step = config.steps[stage]
        parent = models[step.parent]
        more = {"pairs": _pairs(plan, step, parent, chat)} if isinstance(step, PreferenceConfig) and step.pairs is not None else {}
        if isinstance(step, DistillationConfig) and step.teacher in models:
            more["teacher"] = models[step.teacher]
        kind, request = _request(config, step)
        processes = max(1, step.placement.gpus_per_node)
        models[stage] = plan.add(stage, kind, request, processes=processes, model=parent, chat=chat, **more)
        measured[stage] = measure(plan, stage, models[stage], curate, before=measured[step.parent])
    return models


def measure(plan: Plan, stage: str, model: Node, curate: Node, before: Node | None = None, test: bool = False) -> Node:
    """The measurement of one model.

    Args:
        before: the measurement of its parent, which the gate compares it with.
        test: ask the items that nothing before the release has seen.
    """
    config = plan.recipe.posttraining
    assert config is not None
    request = MeasureRequest(template=config.template, evaluation=config.evaluation, side="test" if test else "validation")
    more = {"before": before} if before is not None else {}
    return plan.add(f"measure-{stage}", MEASURE, request, model=model, curate=curate, **more)


def vibe(plan: Plan, model: Node) -> Node:
    """The fixed pack of prompts, answered by the final model."""
    config = plan.recipe.posttraining
    assert config is not None
    return plan.add("vibe", VIBE, VibeRequest(template=config.template), model=model)


def _request(config: PostTrainingConfig, step: AnyStep) -> tuple[StageKind, StepRequest]:
    if isinstance(step, SftConfig):
        return SFT, SftRequest(template=config.template, step=step)
    if isinstance(step, PreferenceConfig):
        return PREFERENCE, PreferenceRequest(template=config.template, step=step)
    if isinstance(step, ReinforcementConfig):
        return REINFORCEMENT, ReinforcementRequest(template=config.template, step=step)
    return DISTILLATION, DistillationRequest(template=config.template, step=step)


def _pairs(plan: Plan, step: PreferenceConfig, model: Node, chat: Node) -> Node:
    """What the pairs depend on of their step: not its loss, nor its learning rate."""
    config = plan.recipe.posttraining
    assert config is not None and step.pairs is not None
    hashed = {
        "template": identity(config.template),
        "pairs": identity(step.pairs),
        "sources": [identity(one) for one in step.sources],
        "seed": step.seed,
        "max_length": step.max_length,
    }
    return plan.add(f"pairs-{step.name}", PAIRS, PairsRequest(template=config.template, step=step), hashed=hashed, model=model, chat=chat)


def _outside(config: PostTrainingConfig) -> str:
    from tasks.posttraining import chat_snapshot

    return chat_snapshot(source for step in chat_request(config).steps for source in step.sources)
