"""What a court takes before it is held, by arithmetic alone: the same figures in the dry run, at the launch and in the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from contracts.errors import ConfigError
from tasks.ablation import cautions
from tasks.ablation.arms import Arm, arm_overrides
from tasks.ablation.cautions import hours_text
from tasks.ablation.config import Court, Modification
from tasks.ablation.factors import check
from tasks.ablation.fields import CourtRecipe, position
from tasks.ablation.parity import parity
from tasks.ablation.plan import ArmPlan, CourtPlan, PlannedCourt, require
from tasks.ablation.step_cost import StepCourtPlan, step_court_plan
from tasks.compass import TrainingPlan, amount, grid, plan_training

__all__ = ["CourtPlan", "StepCourtPlan", "court_plan", "render", "require", "step_court_plan", "within_budget"]

SIGNS = {"block": "BLOCKED", "warn": "warning", "note": "note"}


def court_plan(court: Court, recipe: CourtRecipe, settled: Mapping[str, str] | None = None, spent: float = 0.0) -> CourtPlan:
    """The plan of `court` over `recipe`: training only, evaluation is not counted. Runs that exist already are counted as if new.

    Args:
        settled: modification -> state, as decided by earlier courts; unset: not known yet.
        spent: device hours that other courts of the recipe take.

    Raises:
        ConfigError: the court is not sound (`factors.check`).
    """
    arms = check(court, recipe, settled)
    document, budget = recipe.model_dump(mode="json"), recipe.purpose.budget
    runs = [recipe.override(arm_overrides(arm, court, document, court.seeds[0])) for arm in arms]
    plans = [plan_training(run) for run in runs]
    rows = [_arm(court, arm, runs[0], run, plan) for arm, run, plan in zip(arms, runs, plans, strict=True)]
    cost = plans[0].cost
    plan = CourtPlan(
        name=court.name,
        before=document["training"]["phases"][position(court.before, document)]["name"],
        metric=court.metric,
        seeds=court.seeds,
        arms=rows,
        converted=court.evaluation.backend != "megatron",
        formula=cost.formula,
        peak=cost.peak,
        assumed_mfu=cost.assumed_mfu,
        currency=budget.currency,
    )
    hours, price = plan.device_hours, budget.price_per_gpu_hour
    findings = [
        *cautions.budget(court, plan, recipe, spent),
        *cautions.impossible(arms, plans),
        *cautions.conversion(arms, [run.model for run in runs], plan.converted),
        *cautions.comparisons(court, arms, runs, rows),
    ]
    money = None if hours is None or price is None else hours * price
    return plan.model_copy(update={"findings": findings, "money": money})


def within_budget(items: Sequence[Modification], court: Court, recipe: CourtRecipe, device_hours: float | None) -> list[Modification]:
    """The first of `items`, in their order, that `court` can test together for `device_hours` (unset: all); none where not even one fits.

    Raises:
        ConfigError: an item is not sound, or no peak is known to price it with.
    """
    if device_hours is None or not items:
        return list(items)
    whole = court_plan(court.model_copy(update={"modifications": list(items), "template": None}), recipe)
    if whole.device_hours is None:
        raise ConfigError("device hours cannot be known", do="give purpose.budget.peak_tflops", where=f"court '{court.name}'")
    baseline, *arms = whole.arms
    left, taken = device_hours - (baseline.device_hours or 0.0), []
    for item in items:
        left -= sum(arm.device_hours or 0.0 for arm in arms if arm.arm.split("[")[0] == item.name)
        if left < 0:
            break
        taken.append(item)
    return taken


def render(plan: CourtPlan | StepCourtPlan) -> str:
    """The whole plan as aligned text."""
    return "\n".join([*(_step_lines(plan) if isinstance(plan, StepCourtPlan) else _lines(plan)), *_said(plan)])


def _lines(plan: CourtPlan) -> list[str]:
    head = ["arm", "runs", "tokens/run", "FLOPs", "device-hours", "parameters", "difference", "FLOPs/token"]
    rows = [
        [
            row.arm,
            str(row.runs),
            amount(row.tokens),
            amount(row.flops),
            hours_text(row.device_hours),
            f"{row.parity.parameters:,}",
            f"{row.parity.parameter_difference:+.1%}",
            f"{row.parity.flops_difference:+.1%}",
        ]
        for row in plan.arms
    ]
    measured = "converted to a transformers model" if plan.converted else "as the trainer holds it, not converted"
    return [
        f"court '{plan.name}' before phase '{plan.before}': decided by {plan.metric}, seeds {', '.join(map(str, plan.seeds))}",
        f"every run is measured {measured}",
        "",
        grid(head, rows),
        "",
        *_convention(plan, "evaluation not counted"),
        f"in all         {plan.runs} runs, {amount(plan.tokens)} tokens, {amount(plan.flops)} FLOPs, {_price(plan)}",
    ]


def _step_lines(plan: StepCourtPlan) -> list[str]:
    head = ["arm", "runs", "examples/run", "tokens/run, at most", "FLOPs, at most", "device-hours, at most"]
    rows = [
        [row.arm, str(row.runs), _known(row.examples), _known(row.tokens), _known(row.flops), hours_text(row.device_hours)]
        for row in plan.arms
    ]
    return [
        f"court '{plan.name}' before {plan.before}: decided by {plan.metric}, seeds {', '.join(map(str, plan.seeds))}",
        f"every run is followed by its measurement of {plan.items:,} held-out answers",
        "",
        grid(head, rows),
        "",
        *_convention(plan, "data and measurements not counted"),
        f"in all         {plan.runs} runs, {_price(plan)}",
    ]


def _convention(plan: PlannedCourt, but: str) -> list[str]:
    return [
        f"FLOP formula   {plan.formula}",
        f"peak           {plan.peak}",
        f"assumed MFU    {plan.assumed_mfu:.1%} of that peak; device-hours = FLOPs / (peak x MFU x 3600), {but}",
    ]


def _price(plan: PlannedCourt) -> str:
    return f"{hours_text(plan.device_hours)} device-hours" + ("" if plan.money is None else f", {plan.money:,.2f} {plan.currency}")


def _known(value: float | None) -> str:
    return "unknown" if value is None else amount(value)


def _said(plan: PlannedCourt) -> list[str]:
    lines, order = [], list(SIGNS)
    for finding in sorted(plan.findings, key=lambda finding: order.index(finding.level)):
        lines.append(f"{SIGNS[finding.level]}: {finding.topic}: {finding.what}")
        lines += [f"  What to do: {finding.do}"] if finding.do else []
    return lines


def _arm(court: Court, arm: Arm, baseline: CourtRecipe, run: CourtRecipe, plan: TrainingPlan) -> ArmPlan:
    phase = plan.phases[-1]
    left_out = sum(name.rpartition(".")[0] == arm.name for name in court.left_out)
    runs = len(court.seeds) - left_out
    lengths = [one.training.phases[-1].sequence_length for one in (run, baseline)]
    return ArmPlan(
        arm=arm.name,
        runs=runs,
        tokens=phase.tokens,
        flops=runs * phase.flops,
        device_hours=None if phase.gpu_hours is None else runs * phase.gpu_hours,
        parity=parity(arm, baseline.model, run.model, court.layout, *lengths),
    )
