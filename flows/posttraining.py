"""After pretraining: chat data, the training steps with their parents, pairs made on policy, and a measurement of every model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from contracts.config import identity
from flows import step_court
from flows.plan import Node, Plan, StageKind
from tasks.ablation.steps import field_of
from tasks.posttraining.chat_requests import MeasureRequest, PairsRequest, VibeRequest, chat_request
from tasks.posttraining.config import AnyStep, DistillationConfig, PostTrainingConfig, PreferenceConfig, ReinforcementConfig, SftConfig
from tasks.posttraining.requests import DistillationRequest, PreferenceRequest, ReinforcementRequest, SftRequest, StepRequest

CRAFT = "posttraining"
CHAT = StageKind("chat", 1, "conversations, linted and decontaminated", craft=CRAFT)
SFT = StageKind("sft", 1, "supervised fine-tuning on conversations", craft=CRAFT, effort=3)
PAIRS = StageKind("pairs", 1, "answers of the model, sorted into better and worse", craft=CRAFT)
PREFERENCE = StageKind("preference", 2, "prefer right answers to wrong ones", craft=CRAFT, effort=3)
REINFORCEMENT = StageKind("reinforcement", 1, "reinforcement with verifiable rewards", craft=CRAFT, effort=12)
DISTILLATION = StageKind("distillation", 1, "answer, and learn a teacher's probabilities at every token", craft=CRAFT, effort=12)
MEASURE = StageKind("measure", 2, "ask held-out items and tasks", craft=CRAFT)
VIBE = StageKind("vibe", 1, "answers for a person to read", craft=CRAFT)
KINDS = (CHAT, SFT, PAIRS, PREFERENCE, REINFORCEMENT, DISTILLATION, MEASURE, VIBE)
PRETRAINED = "pretrained"


@dataclass(frozen=True)
class Line:
    """Models and measurements of the steps so far, by stage."""

    tokenizer: Node
    curate: Node
    models: dict[str, Node]
    measured: dict[str, Node]


def add(plan: Plan, base: Node, tokenizer: Node, curate: Node, decided: Callable[[Node], Sequence[str] | None]) -> dict[str, Node]:
    """Every step of the recipe's section, parents first; the models by name of their stage, `pretrained` being `base`.

    A step is what the courts before it made of it.

    Args:
        decided: see `flows.dag.dag`.
    """
    config = _config(plan)
    _chat(plan, config, tokenizer, curate)
    line = Line(tokenizer, curate, {PRETRAINED: base}, {PRETRAINED: measure(plan, PRETRAINED, base, curate)})
    for stage in config.in_order():
        for case in plan.recipe.ablations.steps:
            if case.stage == stage:
                judged = step_court.add(plan, case, partial(_run, plan, stage, line))
                plan.decide(judged, decided(judged))
        line.models[stage], line.measured[stage] = _step(plan, stage, line, _config(plan))
    return line.models


def _run(plan: Plan, stage: str, line: Line, overrides: Sequence[str]) -> Plan:
    """The step under other settings, as a run of a court; its data are drawn with the step's own seed, whatever the run's."""
    one = plan.branch(overrides)
    own = _config(plan).steps[stage].seed
    data = one.recipe.override([f"{field_of(stage)}.seed={own}"]).posttraining
    assert data is not None
    _step(one, stage, line, data)
    return one


def _step(plan: Plan, stage: str, line: Line, data: PostTrainingConfig) -> tuple[Node, Node]:
    """(model, measurement) of a step.

    Args:
        data: what the step's data are made by.
    """
    config = _config(plan)
    step, chat = config.steps[stage], _chat(plan, data, line.tokenizer, line.curate)
    parent, more = line.models[step.parent], {}
    source = data.steps[stage]
    if isinstance(source, PreferenceConfig) and source.pairs is not None:
        more["pairs"] = _pairs(plan, source, parent, chat, line.models.get(source.pairs.strong or ""))
    if isinstance(step, DistillationConfig) and step.teacher in line.models:
        more["teacher"] = line.models[step.teacher]
    kind, request = _request(config, step)
    processes = max(1, step.placement.gpus_per_node)
    model = plan.add(stage, kind, request, processes=processes, model=parent, chat=chat, **more)
    return model, measure(plan, stage, model, line.curate, before=line.measured[step.parent])


def _chat(plan: Plan, config: PostTrainingConfig, tokenizer: Node, curate: Node) -> Node:
    return plan.add("chat", CHAT, chat_request(config), salt=lambda: _outside(config), model=tokenizer, curate=curate)


def _config(plan: Plan) -> PostTrainingConfig:
    config = plan.recipe.posttraining
    assert config is not None
    return config


def measure(plan: Plan, stage: str, model: Node, curate: Node, before: Node | None = None, test: bool = False) -> Node:
    """The measurement of one model.

    Args:
        before: the measurement of its parent, which the gate compares it with.
        test: ask the items that nothing before the release has seen.
    """
    config = _config(plan)
    request = MeasureRequest(template=config.template, evaluation=config.evaluation, side="test" if test else "validation")
    more = {"before": before} if before is not None else {}
    return plan.add(f"measure-{stage}", MEASURE, request, model=model, curate=curate, **more)


def vibe(plan: Plan, model: Node) -> Node:
    """The fixed pack of prompts, answered by the final model."""
    config = _config(plan)
    return plan.add("vibe", VIBE, VibeRequest(template=config.template), model=model)


def _request(config: PostTrainingConfig, step: AnyStep) -> tuple[StageKind, StepRequest]:
    if isinstance(step, SftConfig):
        return SFT, SftRequest(template=config.template, step=step)
    if isinstance(step, PreferenceConfig):
        return PREFERENCE, PreferenceRequest(template=config.template, step=step)
    if isinstance(step, ReinforcementConfig):
        return REINFORCEMENT, ReinforcementRequest(template=config.template, step=step)
    return DISTILLATION, DistillationRequest(template=config.template, step=step)


def _pairs(plan: Plan, step: PreferenceConfig, model: Node, chat: Node, strong: Node | None) -> Node:
    """What the pairs depend on of their step: not its loss, nor its learning rate.

    Args:
        strong: whose answers are chosen, where that is the model of another stage.
    """
    config = _config(plan)
    assert step.pairs is not None
    hashed = {
        "template": identity(config.template),
        "pairs": identity(step.pairs),
        "sources": [identity(one) for one in step.sources],
        "seed": step.seed,
        "max_length": step.max_length,
    }
    inputs = {"model": model, "chat": chat} | ({"strong": strong} if strong is not None else {})
    return plan.add(f"pairs-{step.name}", PAIRS, PairsRequest(template=config.template, step=step), hashed=hashed, **inputs)


def _outside(config: PostTrainingConfig) -> str:
    from tasks.posttraining import chat_snapshot

    return chat_snapshot(source for step in chat_request(config).steps for source in step.sources)
