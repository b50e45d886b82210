"""What a person should know of a court before it is held, and what stops it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from contracts.errors import ConfigError
from models.config import ModelConfig
from tasks.ablation.arms import Arm
from tasks.ablation.config import Court
from tasks.ablation.fields import CourtRecipe
from tasks.ablation.plan import ArmPlan, CourtPlan
from tasks.compass import Finding, TrainingPlan, plan_training

__all__ = ["budget", "comparisons", "conversion", "hours_text", "impossible"]


def budget(court: Court, plan: CourtPlan, recipe: CourtRecipe, spent: float) -> Iterator[Finding]:
    """More than the court may spend, or than the limit of all device hours leaves beside the main run."""
    own, main = court.budget.device_hours, plan_training(recipe).cost
    limit, hours = recipe.purpose.budget.limit_gpu_hours, plan.device_hours
    if hours is None:
        if own is not None or limit is not None:
            do = "give purpose.budget.peak_tflops"
            yield Finding(level="block", topic="budget", what="device hours cannot be checked: no peak is known", do=do)
        return
    cheaper = "fewer tokens, seeds or arms, or a higher limit"
    if own is not None and hours > own:
        what = f"{hours_text(hours)} device-hours, the court may spend {hours_text(own)}"
        yield Finding(level="block", topic="budget", what=what, do=cheaper)
    reserve = main.reserves.get("ablations", 0.0)
    if limit is not None and main.total_gpu_hours is not None:
        room = limit - (main.total_gpu_hours - reserve) - spent
        if hours > room:
            what = (
                f"{hours_text(hours)} device-hours, purpose.budget.limit_gpu_hours leaves {hours_text(max(room, 0.0))} beside the main run"
            )
            yield Finding(level="block", topic="budget", what=what, do=cheaper)
    if reserve and hours + spent > reserve:
        what = f"courts take {hours_text(hours + spent)} device-hours, {hours_text(reserve)} are set aside for ablations"
        yield Finding(level="warn", topic="budget", what=what, do="know when to stop optimising and start training")


def impossible(arms: Sequence[Arm], plans: Sequence[TrainingPlan]) -> Iterator[Finding]:
    """What the compass says of each arm's layout and memory."""
    for arm, plan in zip(arms, plans, strict=True):
        for finding in plan.findings:
            phase = plan.phases[-1].name
            if finding.topic in ("layout", "memory") and finding.what.startswith((f"{phase}:", f"{phase} ")):
                yield finding.model_copy(update={"what": f"'{arm.name}'{finding.what.removeprefix(phase)}"})


def conversion(arms: Sequence[Arm], models: Sequence[ModelConfig], converted: bool) -> Iterator[Finding]:
    """Models that no transformers class has: such an arm votes on the trainer's own model, and so must all others."""
    without = [arm.name for arm, model in zip(arms, models, strict=True) if _has_no_class(model)]
    if not without:
        return
    what = f"no transformers class has the model of {', '.join(without)} (QK norm with NoPE layers), so it cannot be converted"
    if converted:
        do = "set the court's evaluation.backend: megatron, which measures every arm alike as the trainer holds it"
        yield Finding(level="block", topic="conversion", what=what, do=do)
    else:
        do = "if it is accepted, the model of the main run cannot be converted either"
        yield Finding(level="warn", topic="conversion", what=f"{what}; it votes as the trainer holds it, like every arm", do=do)


def _has_no_class(model: ModelConfig) -> bool:
    if not model.qk_norm:
        return False  # Llama or SmolLM3; the question below loads torch
    from models.huggingface import architecture

    try:
        architecture(model)
    except ConfigError:
        return True
    return False


def comparisons(court: Court, arms: Sequence[Arm], runs: Sequence[CourtRecipe], rows: Sequence[ArmPlan]) -> Iterator[Finding]:
    """What makes a comparison weak or unfair: one seed, unequal sizes or tokens, another optimizer at the old rate, another tokenizer."""
    if len(court.seeds) == 1:
        do = "give two seeds or more"
        yield Finding(level="warn", topic="seeds", what="one seed measures no noise: every verdict will be 'under-powered'", do=do)
    for arm, run, row in zip(arms, runs, rows, strict=True):
        if row.parity.warning:
            yield Finding(level="warn", topic="parity", what=row.parity.warning)
        given = row.tokens / rows[0].tokens - 1
        if abs(given) > 0.01:
            what = f"'{arm.name}' is trained on {given:+.1%} tokens: whole steps of another batch"
            yield Finding(level="warn", topic="tokens", what=what, do="choose tokens that every batch divides")
        kind, usual = run.training.optimizer.kind, runs[0].training.optimizer.kind
        if kind != usual and not any(path.endswith("learning_rate") for path in arm.changes):
            what = f"'{arm.name}' takes {kind} at the learning rate that was chosen for {usual}"
            do = "sweep its learning rate (template learning_rate), or declare one as a compensation"
            yield Finding(level="warn", topic="optimizer", what=what, do=do)
        if any(path.split(".")[0] == "tokenizer" for path in arm.changes):
            what = f"'{arm.name}' has a tokenizer of its own: its loss does not compare, bits per byte and accuracy do"
            yield Finding(level="note", topic="tokenizer", what=what)


def hours_text(value: float | None) -> str:
    """Device hours in few characters."""
    return "unknown" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
