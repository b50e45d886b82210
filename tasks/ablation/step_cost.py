"""What a court over a step after pretraining takes before it is held: runs, and an upper bound of their work where it can be known."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from models.flops import flops_per_token
from tasks.ablation.arms import Arm
from tasks.ablation.config import StepCourt
from tasks.ablation.fields import CourtRecipe, apply
from tasks.ablation.plan import PlannedArm, PlannedCourt
from tasks.ablation.step_factors import check_step
from tasks.ablation.steps import step_of
from tasks.compass import Finding, plan_training

__all__ = ["StepArmPlan", "StepCourtPlan", "step_court_plan"]

ONE_SEED = "one seed measures no noise: every verdict will be 'under-powered'"
REFERENCE = 4 / 3
"""Work of a preference step against plain training: a forward pass of the reference beside three passes of the policy."""


class StepArmPlan(PlannedArm):
    """One arm of a court before a step; its device hours are unset too where the length of a run is not known."""

    examples: int | None = None
    """Conversations or pairs that one run trains on, passes counted; unset where a source does not say how many it has."""
    tokens: int | None = None
    """Most tokens of one run: every example as long as the step lets it be."""
    flops: float | None = None
    """Model FLOPs of all its runs, for those tokens."""


class StepCourtPlan(PlannedCourt):
    """The plan of a court before a step."""

    arms: list[StepArmPlan]
    """The baseline first."""
    items: int
    """Answers to held-out items of generated skills asked of each run; tasks come beside them."""


def step_court_plan(court: StepCourt, recipe: CourtRecipe, settled: Mapping[str, str] | None = None) -> StepCourtPlan:
    """The plan of `court` over `recipe`: training only; the measurement of each run is not counted, nor the making of data.

    Runs that exist already are counted as if new.

    Raises:
        ConfigError: the court is not sound (`step_factors.check_step`).
    """
    arms = check_step(court, recipe, settled)
    document, budget = recipe.model_dump(mode="json"), recipe.purpose.budget
    main = plan_training(recipe)
    whole = sum(phase.flops for phase in main.phases)
    hours_per_flop = None if main.cost.gpu_hours is None else main.cost.gpu_hours / whole
    rows = [_arm(court, arm, document, recipe, hours_per_flop) for arm in arms]
    evaluation = document["posttraining"]["evaluation"]
    plan = StepCourtPlan(
        name=court.name,
        before=court.stage,
        metric=court.metric,
        seeds=court.seeds,
        arms=rows,
        items=len(evaluation["skills"]) * evaluation["items"] * 4,  # two modes, two ways of answering
        formula=main.cost.formula,
        peak=main.cost.peak,
        assumed_mfu=main.cost.assumed_mfu,
        currency=budget.currency,
    )
    hours, price = plan.device_hours, budget.price_per_gpu_hour
    money = None if hours is None or price is None else hours * price
    return plan.model_copy(update={"money": money, "findings": list(_findings(court, plan, document))})


def _arm(court: StepCourt, arm: Arm, recipe: Mapping[str, Any], whole: CourtRecipe, hours_per_flop: float | None) -> StepArmPlan:
    step = step_of(court, apply(recipe, arm.changes))
    runs = len(court.seeds) - sum(name.rpartition(".")[0] == arm.name for name in court.left_out)
    examples = _examples(step)
    if examples is None:
        return StepArmPlan(arm=arm.name, runs=runs)
    paired = "loss" in step
    tokens = examples * step["max_length"] * (2 if paired else 1)
    flops = runs * tokens * flops_per_token(whole.model, step["max_length"]) * (REFERENCE if paired else 1.0)
    hours = None if hours_per_flop is None else flops * hours_per_flop
    return StepArmPlan(arm=arm.name, runs=runs, examples=examples, tokens=tokens, flops=flops, device_hours=hours)


def _examples(step: Mapping[str, Any]) -> int | None:
    """Examples of one run, passes counted, of a step that trains on a set of them; None where that cannot be said."""
    if "epochs" not in step:
        return None  # prompts that it answers itself: their length is the model's
    sizes = [source["examples"] for source in step["sources"]]
    if None in sizes:
        return None
    held = sum(round(source["examples"] * source["weight"]) for source in step["sources"])
    most = step.get("max_pairs")
    return math.ceil(step["epochs"] * (held if most is None else min(held, most)))


def _findings(court: StepCourt, plan: StepCourtPlan, recipe: Mapping[str, Any]) -> Iterator[Finding]:
    if len(court.seeds) == 1:
        yield Finding(level="warn", topic="seeds", what=ONE_SEED, do="give two seeds or more")
    own = step_of(court, recipe)["seed"]
    if own not in court.seeds:
        what = f"seed {own} of {court.stage} is not among {', '.join(map(str, court.seeds))}: the step itself will be trained once more"
        yield Finding(level="note", topic="seeds", what=what, do=f"put {own} into `seeds`")
    limit, hours = court.budget.device_hours, plan.device_hours
    if limit is not None and hours is None:
        do = f"give `examples` of every source of {court.stage}, and purpose.budget.peak_tflops; or no limit"
        yield Finding(level="block", topic="budget", what="device hours cannot be checked: they are not known", do=do)
    elif limit is not None and hours is not None and hours > limit:
        what = f"up to {hours:.3g} device-hours, the court may spend {limit:.3g}"
        yield Finding(level="block", topic="budget", what=what, do="fewer seeds or arms, or a higher limit")
