"""From a recipe to a plan, by arithmetic alone: the same planner serves the dry run, the launch and the report.

Formulas: tokens per batch = global_batch_size x sequence_length; GPU-hours = model FLOPs / (dense peak x assumed MFU x 3600), with the
FLOP convention named beside the figure (Smol Training Playbook, parallel layout: state which one is used).
"""

from __future__ import annotations

from collections.abc import Mapping

from contracts.errors import ConfigError
from models.count import parameters, parameters_by_part
from models.flops import FORMULA, flops_per_token
from models.layout import Layout, check
from models.memory import GIB, activation_bytes_per_rank, static_bytes_per_rank
from tasks.compass.config import Budget, EpochRule
from tasks.compass.devices import DEVICES
from tasks.compass.gate import judge, judge_epochs
from tasks.compass.inputs import PhaseLike, RecipeLike, ScheduleLike, TrainingLike
from tasks.compass.plan import Cost, Finding, PhasePlan, SourcePlan, TrainingPlan


def plan_training(recipe: RecipeLike, sizes: Mapping[str, int] | None = None) -> TrainingPlan:
    """The plan of a recipe. `sizes`: tokens of a source where they were measured; they replace published ones.

    Nothing is raised for a plan that cannot work: its `findings` say what blocks it, so that a dry run shows everything at once.
    """
    budget, peak = recipe.purpose.budget, peak_flops(recipe.purpose.budget)
    phases: list[PhasePlan] = []
    findings: list[Finding] = []
    for phase in recipe.training.phases:
        findings += check_layout(recipe, phase)
        phases.append(_phase(recipe, phase, phases[-1].last_step if phases else 0, peak[0]))
    measured = sizes or {}
    sources = plan_sources(
        recipe.training, {source.name: measured.get(source.name, source.published_tokens) for source in recipe.data.sources}
    )
    known = {source.name for source in sources}
    for phase in recipe.training.phases:
        for name in sorted(set(phase.mixture) - known):
            findings.append(
                Finding(
                    level="block", topic="mixture", what=f"{phase.name} mixes '{name}', which is no source", do="add it to data.sources"
                )
            )
    plan = TrainingPlan(
        parameters=parameters(recipe.model),
        parameters_by_part=parameters_by_part(recipe.model),
        phases=phases,
        sources=sources,
        cost=_cost(budget, phases, peak[1]),
        findings=findings,
    )
    return plan.model_copy(update={"findings": [*findings, *judge(recipe.purpose, recipe.model, plan)]})


def check_layout(recipe: RecipeLike, phase: PhaseLike) -> list[Finding]:
    """A `block` finding where the phase's layout cannot run, with the reason; empty where it can."""
    try:
        check(
            recipe.model,
            phase.layout,
            phase.precision,
            sequence_length=phase.sequence_length,
            global_batch_size=phase.global_batch_size,
            device="cpu" if recipe.purpose.budget.gpu == "cpu" else "cuda",
            optimizer=recipe.training.optimizer.kind,
        )
    except ConfigError as error:
        return [Finding(level="block", topic="layout", what=f"{phase.name}: {error.what}", do=error.do)]
    if phase.layout.context_parallel_size > 1 and recipe.model.document_masking:
        # Transformer Engine cuts every packed document into 2 x context_parallel_size equal chunks, so its length must divide by that.
        multiple = 2 * phase.layout.context_parallel_size
        what = f"{phase.name}: context parallelism with packed documents needs documents padded to multiples of {multiple} tokens"
        do = "tokenize with such padding, or switch model.document_masking off; the trainer refuses any other document"
        return [Finding(level="warn", topic="layout", what=what, do=do)]
    return []


def plan_sources(training: TrainingLike, sizes: Mapping[str, int | None]) -> list[SourcePlan]:
    """Tokens each phase reads from each source of `sizes` (share of the mixture x tokens of the phase), unread sources included."""
    totals = {phase.name: sum(phase.mixture.values()) for phase in training.phases}
    return [
        SourcePlan(
            name=name,
            size=size,
            tokens={
                phase.name: round(phase.mixture[name] / totals[phase.name] * tokens_of(phase))
                for phase in training.phases
                if name in phase.mixture
            },
        )
        for name, size in sizes.items()
    ]


def epoch_problems(training: TrainingLike, rule: EpochRule, sizes: Mapping[str, int]) -> list[str]:
    """One sentence for each source that repeats beyond the rule, given its measured tokens; empty where all is well."""
    return [finding.what for finding in judge_epochs(rule, plan_sources(training, dict(sizes))) if finding.level == "block"]


def tokens_of(phase: PhaseLike) -> int:
    """Tokens a phase really trains on: whole steps."""
    return phase.steps * phase.global_batch_size * phase.sequence_length


def peak_flops(budget: Budget) -> tuple[float | None, str]:
    """Dense peak of one device in FLOP/s with where it comes from; None where none is known."""
    if budget.peak_tflops is not None:
        return budget.peak_tflops * 1e12, f"{budget.peak_tflops:g} TFLOP/s per device (given in the recipe)"
    device = DEVICES[budget.gpu]
    if device.peak_tflops is None:
        return None, "no published peak: give purpose.budget.peak_tflops to see hours"
    return device.peak_tflops * 1e12, f"{device.peak_tflops:g} TFLOP/s per {budget.gpu.upper()} (dense bfloat16, published)"


def describe_layout(layout: Layout) -> str:
    """A layout in words: `TP2 DP192 mbs 3`."""
    parts = [
        ("TP", layout.tensor_parallel_size),
        ("PP", layout.pipeline_parallel_size),
        ("CP", layout.context_parallel_size),
    ]
    words = [f"{name}{size}" for name, size in parts if size > 1] + [f"DP{layout.data_parallel_size}", f"mbs {layout.micro_batch_size}"]
    if layout.sequence_parallel:
        words.insert(1, "SP")
    return " ".join(words + ([f"recompute {layout.recompute}"] if layout.recompute != "none" else []))


def _phase(recipe: RecipeLike, phase: PhaseLike, before: int, peak: float | None) -> PhasePlan:
    layout, budget = phase.layout, recipe.purpose.budget
    tokens, flops = tokens_of(phase), flops_per_token(recipe.model, phase.sequence_length) * tokens_of(phase)
    hours = None if peak is None else flops / (peak * budget.assumed_mfu) / 3600
    accumulation = max(1, phase.global_batch_size // (layout.micro_batch_size * layout.data_parallel_size))
    ranks = range(layout.pipeline_parallel_size)
    memory = [
        (
            static_bytes_per_rank(recipe.model, layout, phase.precision, rank, recipe.training.optimizer.kind),
            activation_bytes_per_rank(recipe.model, layout, phase.precision, phase.sequence_length, rank, accumulation),
        )
        for rank in ranks
    ]
    static, activations = max(memory, key=sum)
    return PhasePlan(
        name=phase.name,
        tokens=tokens,
        steps=phase.steps,
        last_step=before + phase.steps,
        tokens_per_batch=phase.global_batch_size * phase.sequence_length,
        sequence_length=phase.sequence_length,
        global_batch_size=phase.global_batch_size,
        learning_rate=_schedule(phase.schedule),
        layout=describe_layout(layout),
        ranks=layout.world_size,
        accumulation=accumulation,
        flops=flops,
        tokens_per_second=None if hours is None else tokens / (hours * 3600),
        gpu_hours=hours,
        days=None if hours is None else hours / layout.world_size / 24,
        static_bytes=static,
        activation_bytes=activations,
    )


def _schedule(schedule: ScheduleLike) -> str:
    shape = schedule.shape.replace("_", " ")
    return f"{schedule.learning_rate:g} {shape}" + ("" if schedule.shape == "constant" else f" to {schedule.end:g}")


def _cost(budget: Budget, phases: list[PhasePlan], peak: str) -> Cost:
    hours = None if any(phase.gpu_hours is None for phase in phases) else sum(phase.gpu_hours or 0.0 for phase in phases)
    shares = {
        "ablations": budget.reserve_ablations,
        "contingency": budget.reserve_contingency,
        "evaluation": budget.reserve_evaluation,
    }
    cost = Cost(
        formula=FORMULA,
        peak=peak,
        assumed_mfu=budget.assumed_mfu,
        gpu_hours=hours,
        days=None if hours is None else sum(phase.days or 0.0 for phase in phases),
        reserves={} if hours is None else {name: share * hours for name, share in shares.items()},
        currency=budget.currency,
    )
    total, price = cost.total_gpu_hours, budget.price_per_gpu_hour
    return cost if total is None or price is None else cost.model_copy(update={"money": total * price})


def gib(value: float) -> str:
    """Bytes in GiB with two digits, or in MiB below a tenth of a GiB."""
    return f"{value / GIB:.2f} GiB" if value >= GIB / 10 else f"{value / 2**20:.1f} MiB"
