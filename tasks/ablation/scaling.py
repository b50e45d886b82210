"""Scaling laws of hyper-parameters: runs at several compute budgets x learning rates x batches, and the power laws through their best.

Smol Training Playbook, scaling laws for hyper-parameters: keep every configuration within 0.25 % of a budget's best loss, since the optimum
is broad, and fit C -> learning rate, C -> batch and C -> loss on logarithms.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from contracts.config import Config
from contracts.errors import InputError
from models.flops import flops_per_token
from tasks.ablation.request import JudgeRequest, run_name
from tasks.ablation.results import Run

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["BAND", "Budgeted", "PowerLaw", "ScalingFit", "Trial", "fit_scaling", "trials"]

BAND = 0.0025
"""Relative distance to the best loss of a budget within which a configuration counts as near-optimal."""
FEWEST = 3
DRAWS = 1000


class Trial(Config):
    """One run of the study."""

    name: str
    """Court and run, for provenance."""
    compute: float
    """FLOPs of the whole run, forward and backward."""
    learning_rate: float
    """Peak."""
    batch: float
    """Tokens of one step."""
    loss: float
    """What is minimised: a held-out loss or bits per byte."""


class Budgeted(Config):
    """One compute budget."""

    compute: float
    """FLOPs."""
    best: str
    """Its best run."""
    loss: float
    """Loss of that run."""
    near: list[str]
    """Runs within the band, the best one too."""
    tried: int
    """Runs in all."""


class PowerLaw(Config):
    """y = coefficient x C^exponent."""

    coefficient: float
    """y at C = 1."""
    exponent: float
    """Slope on logarithms."""
    low: float
    """Lower end of the exponent's bootstrap interval."""
    high: float
    """Upper end."""
    at: float | None = None
    """y at the target."""
    at_low: float | None = None
    """Lower end of its interval."""
    at_high: float | None = None
    """Upper end."""


class ScalingFit(Config):
    """The study."""

    budgets: list[Budgeted]
    """From small to large."""
    learning_rate: PowerLaw
    """Of the near-optimal runs."""
    batch: PowerLaw
    """Of the near-optimal runs, in tokens."""
    loss: PowerLaw
    """Of the best run of each budget."""
    target: float | None
    """FLOPs to which the laws were extended."""
    confidence: float
    """Of the intervals."""
    remarks: list[str]
    """What a reader must know before using it."""


def trials(request: JudgeRequest, runs: Sequence[Run], metric: str = "bits_per_byte") -> list[Trial]:
    """The runs of one court as trials, by the FLOPs of their own model; runs without the metric (diverged, left out) are no trials."""
    arms = {arm.name: arm for arm in request.arms}
    found = []
    for run in runs:
        if metric in run.metrics:
            arm = arms[run.arm]
            flops = flops_per_token(arm.model, arm.phase.sequence_length) * arm.phase.steps * arm.phase.tokens_per_step
            schedule, name = arm.phase.schedule, f"{request.court.name}/{run_name(run.arm, run.seed)}"
            found.append(
                Trial(
                    name=name,
                    compute=flops,
                    learning_rate=schedule.learning_rate,
                    batch=arm.phase.tokens_per_step,
                    loss=run.metrics[metric],
                )
            )
    return found


def fit_scaling(
    study: Sequence[Trial], *, target: float | None = None, confidence: float = 0.95, band: float = BAND, seed: int = 0
) -> ScalingFit:
    """Power laws through the near-optimal runs of each budget.

    Intervals are percentiles of a bootstrap that draws, within each budget, as many of its runs as there are and starts again from the
    band: they show how much the choice of the grid's winners matters, not whether the law holds beyond the budgets tried.

    Args:
        target: FLOPs to extend the laws to.

    Raises:
        InputError: fewer than three budgets, or a loss, rate, batch or compute that is not above 0.
    """
    import numpy as np

    if any(min(one.compute, one.learning_rate, one.batch, one.loss) <= 0 for one in study):
        raise InputError("a power law needs compute, learning rate, batch and loss above 0", do="leave out runs that have none")
    budgets = _budgets(study)
    if len(budgets) < FEWEST:
        raise InputError(f"{len(budgets)} compute budgets make no power law", do=f"run {FEWEST} budgets or more")
    logs = [np.log([[one.compute, one.learning_rate, one.batch, one.loss] for one in own]) for own in budgets]
    laws = _laws(logs, band)
    rng = np.random.default_rng(seed)
    drawn = np.array([_laws([own[rng.integers(0, len(own), len(own))] for own in logs], band) for _ in range(DRAWS)])
    ends = [(1 - confidence) / 2, (1 + confidence) / 2]
    largest = budgets[-1][0].compute
    return ScalingFit(
        budgets=[_budgeted(own, band) for own in budgets],
        learning_rate=_law(laws[0], drawn[:, 0], ends, target),
        batch=_law(laws[1], drawn[:, 1], ends, target),
        loss=_law(laws[2], drawn[:, 2], ends, target),
        target=target,
        confidence=confidence,
        remarks=_remarks(budgets, band, target, largest),
    )


def _budgets(study: Sequence[Trial]) -> list[list[Trial]]:
    """Trials by budget, small to large; budgets within 5 % are one, since a batch rounds the tokens."""
    groups: list[list[Trial]] = []
    for one in sorted(study, key=lambda one: one.compute):
        if groups and one.compute <= groups[-1][0].compute * 1.05:
            groups[-1].append(one)
        else:
            groups.append([one])
    return groups


def _near(own: Sequence[Trial], band: float) -> list[Trial]:
    best = min(one.loss for one in own)
    return [one for one in own if one.loss <= best * (1 + band)]


def _laws(budgets: Sequence[NDArray[np.float64]], band: float) -> NDArray[np.float64]:
    """(intercept, slope) on logarithms of learning rate, batch and loss.

    Args:
        budgets: one array each, a row for each run: logarithms of compute, learning rate, batch and loss.
    """
    import numpy as np

    near = np.concatenate([own[own[:, 3] <= own[:, 3].min() + np.log1p(band)] for own in budgets])
    best = np.array([own[own[:, 3].argmin()] for own in budgets])
    lines = [np.polyfit(rows[:, 0], rows[:, column], 1) for rows, column in ((near, 1), (near, 2), (best, 3))]
    return np.array([(intercept, slope) for slope, intercept in lines])


def _law(line: NDArray[np.float64], drawn: NDArray[np.float64], ends: list[float], target: float | None) -> PowerLaw:
    import numpy as np

    low, high = np.quantile(drawn[:, 1], ends)
    law = PowerLaw(coefficient=float(np.exp(line[0])), exponent=float(line[1]), low=float(low), high=float(high))
    if target is None:
        return law
    at_low, at_high = np.exp(np.quantile(drawn[:, 0] + drawn[:, 1] * np.log(target), ends))
    at = np.exp(line[0] + line[1] * np.log(target))
    return law.model_copy(update={"at": float(at), "at_low": float(at_low), "at_high": float(at_high)})


def _budgeted(own: Sequence[Trial], band: float) -> Budgeted:
    best, near = min(own, key=lambda one: one.loss), _near(own, band)
    return Budgeted(compute=best.compute, best=best.name, loss=best.loss, near=[one.name for one in near], tried=len(own))


def _remarks(budgets: Sequence[Sequence[Trial]], band: float, target: float | None, largest: float) -> list[str]:
    found = []
    for own in budgets:
        near = _near(own, band)
        for what, tried, kept in (
            ("learning rate", {one.learning_rate for one in own}, {one.learning_rate for one in near}),
            ("batch", {one.batch for one in own}, {one.batch for one in near}),
        ):
            edges = sorted(kept & {min(tried), max(tried)})
            if edges and len(tried) > 1:
                found.append(f"At {own[0].compute:.3g} FLOPs a near-optimal {what} ({edges[0]:g}) lies at the edge of the grid: widen it.")
    if target is not None and target > 10 * largest:
        found.append(
            f"The target is {target / largest:.0f} times the largest budget: the interval does not cover how the law itself may bend."
        )
    return found
