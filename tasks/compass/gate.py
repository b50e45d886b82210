"""The compass gate: is training from scratch justified, can it be afforded, does it fit (Smol Training Playbook, training compass)."""

from __future__ import annotations

from collections.abc import Sequence

from contracts.errors import GateError
from models.config import ModelConfig
from models.memory import GIB
from tasks.compass.config import REJECTED_MOTIVES, Budget, EpochRule, Purpose, Target
from tasks.compass.devices import DEVICES
from tasks.compass.plan import Finding, SourcePlan, TrainingPlan


def judge(purpose: Purpose, model: ModelConfig, plan: TrainingPlan) -> list[Finding]:
    """Every finding on purpose, target, money, memory and repetition, in that order."""
    return [
        *judge_purpose(purpose),
        *judge_target(purpose.target, model, plan),
        *judge_budget(purpose.budget, plan),
        *judge_memory(purpose.budget, plan),
        *judge_epochs(purpose.epochs, plan.sources),
    ]


def require(plan: TrainingPlan) -> None:
    """Raise GateError naming every blocking finding; silent where there is none."""
    if plan.blocked:
        text = "; ".join(f"{finding.topic}: {finding.what}" for finding in plan.blocked)
        advice = "; ".join(dict.fromkeys(finding.do for finding in plan.blocked if finding.do))
        raise GateError(text, do=advice or "change the recipe", where="compass")


def judge_purpose(purpose: Purpose) -> list[Finding]:
    """Block a motive that never justifies training, and a production model that nothing cheaper was tried for."""
    if purpose.motive in REJECTED_MOTIVES:
        why = REJECTED_MOTIVES[purpose.motive]
        do = "name a research question, a production need or a gap in the open models"
        return [Finding(level="block", topic="motive", what=f"'{purpose.motive}' does not justify training: {why}", do=do)]
    if purpose.demonstration:
        return [Finding(level="note", topic="evidence", what="a demonstration: it claims no use, so no evidence is asked for")]
    found = []
    for name, evidence in (("prompting", purpose.prompting), ("fine-tuning", purpose.finetuning)):
        level = "block" if purpose.motive == "production" else "warn"
        do = f"record it under purpose.{name.replace('-', '')} (tried, metric, score, needed)"
        if evidence.score is None or evidence.needed is None:
            found.append(Finding(level=level, topic="evidence", what=f"no measured result of {name} an existing model", do=do))
        elif not evidence.insufficient:
            what = f"{name} an existing model already reaches {evidence.score:g} of the {evidence.needed:g} {evidence.metric} needed"
            found.append(Finding(level="block", topic="evidence", what=what, do="use that model; do not pretrain"))
    return found


def judge_target(target: Target, model: ModelConfig, plan: TrainingPlan) -> list[Finding]:
    """Block a model whose 16-bit weights do not fit where it must run, or that never sees a context as long as it must handle."""
    found = []
    weights = 2 * plan.parameters / GIB
    if target.memory_gib is not None and weights > target.memory_gib:
        what = f"16-bit weights take {weights:.2f} GiB, the target allows {target.memory_gib:g}"
        found.append(Finding(level="block", topic="target", what=what, do="take a smaller model"))
    longest = max((phase.sequence_length for phase in plan.phases), default=0)
    if target.context_tokens is not None and min(longest, model.max_sequence_length) < target.context_tokens:
        what = f"no phase trains on more than {longest:,} tokens, the target asks for {target.context_tokens:,}"
        found.append(Finding(level="warn", topic="target", what=what, do="add a long-context phase, or extend at inference and measure it"))
    return found


def judge_budget(budget: Budget, plan: TrainingPlan) -> list[Finding]:
    """Block a plan that takes more device hours or days than the limits; a limit that cannot be checked blocks too."""
    found = []
    checks = [
        ("device hours, reserves included", budget.limit_gpu_hours, plan.cost.total_gpu_hours),
        ("days of the main run", budget.limit_days, plan.cost.days),
    ]
    for name, limit, value in checks:
        if limit is None:
            continue
        if value is None:
            what = f"{name} cannot be checked against the limit of {limit:,.0f}: no peak is known"
            found.append(Finding(level="block", topic="budget", what=what, do="give purpose.budget.peak_tflops"))
        elif value > limit:
            what = f"{value:,.1f} {name}, the limit is {limit:,.1f}"
            found.append(
                Finding(level="block", topic="budget", what=what, do="train on fewer tokens, take a smaller model, or raise the limit")
            )
    return found


def judge_memory(budget: Budget, plan: TrainingPlan) -> list[Finding]:
    """Block a phase whose fullest rank does not fit into a device; warn where less than a tenth is left."""
    room = budget.device_memory_gib or DEVICES[budget.gpu].memory_gib
    if room is None:
        return []
    found = []
    for phase in plan.phases:
        need = phase.bytes_per_rank / GIB
        if need > room * 0.9:
            level = "block" if need > room else "warn"
            what = f"{phase.name} needs about {need:.1f} GiB per rank, a device has {room:g}"
            do = "raise tensor or context parallelism, lower micro_batch_size, or recompute"
            found.append(Finding(level=level, topic="memory", what=what, do=do))
    return found


def judge_epochs(rule: EpochRule, sources: Sequence[SourcePlan]) -> list[Finding]:
    """Warn and block on repetition; an accepted source is noted with its reason, an unknown size is said once."""
    found = []
    for source in sources:
        epochs = source.epochs
        if epochs is None or epochs <= rule.warn_above:
            continue
        reason = rule.accepted.get(source.name)
        what = f"'{source.name}' is read {epochs:.2f} times"
        if reason:
            found.append(Finding(level="note", topic="epochs", what=f"{what}; accepted: {reason}"))
        elif epochs > rule.block_above:
            do = f"lower its share, or accept it with a reason under purpose.epochs.accepted.{source.name}"
            found.append(Finding(level="block", topic="epochs", what=f"{what}, more than {rule.block_above:g}", do=do))
        else:
            found.append(Finding(level="warn", topic="epochs", what=f"{what}, more than {rule.warn_above:g}"))
    unknown = [source.name for source in sources if source.size is None and source.total]
    if unknown:
        what = f"epochs of {len(unknown)} of {len(sources)} sources are unknown: no size is published before they are read"
        found.append(Finding(level="note", topic="epochs", what=what))
    return found
