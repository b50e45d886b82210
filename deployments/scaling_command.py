"""The command `scaling`: power laws of learning rate, batch and loss over compute, from the courts that a recipe has held."""

from __future__ import annotations

from collections.abc import Sequence

from contracts.errors import ConfigError
from deployments.output import as_json, table
from flows.baseline import result_of
from flows.desk import Desk
from flows.results import scaling_page
from models.flops import flops_per_token
from tasks.ablation import JudgeRequest, Trial, fit_scaling, trials


def show_scaling(recipe: str, overrides: Sequence[str], metric: str, target: float | None, page: bool, json: bool) -> None:
    """Fit the runs of all courts of this recipe that are in the store, and print the laws or only where their page lies.

    Args:
        target: FLOPs to extend the laws to; None: those of the recipe's own training.

    Raises:
        ConfigError: no court of it has decided.
        InputError: too few budgets for a law.
    """
    desk = Desk.of(recipe, overrides)
    study = _study(desk, metric)
    fit = fit_scaling(study, target=target or _own_compute(desk))
    if page:
        place = str(scaling_page(desk, fit, study))
        if json:
            as_json({"page": place})
        else:
            print(place)
        return
    if json:
        as_json({"fit": fit.model_dump(mode="json"), "trials": [one.model_dump(mode="json") for one in study]})
        return
    laws = (("learning rate", fit.learning_rate), ("batch in tokens", fit.batch), (metric, fit.loss))
    rows = [
        (name, f"{law.exponent:.3f} [{law.low:.3f}, {law.high:.3f}]", f"{law.at:.4g} [{law.at_low:.4g}, {law.at_high:.4g}]")
        for name, law in laws
    ]
    table(rows, ("quantity", "exponent of compute", f"at {fit.target:.3g} FLOPs"), title=f"{len(study)} runs, {len(fit.budgets)} budgets")
    print("\n".join(["", *fit.remarks, "", f"The plots: smolflow scaling --recipe {recipe} --page"]))


def _study(desk: Desk, metric: str) -> list[Trial]:
    found: list[Trial] = []
    for node in desk.plan:
        over_a_phase = isinstance(node.config, JudgeRequest) and node.awaits is None
        artifact = desk.store.find(node.fingerprint, node.name) if over_a_phase else None
        if artifact is not None:
            found += trials(node.config, result_of(desk, artifact).runs, metric)
    if not found:
        raise ConfigError(
            f"no court of '{desk.plan.recipe.name}' has runs with {metric}",
            do="give the recipe one court a budget, each a grid of learning rates and batches (docs/court.md, scaling laws), and run it",
        )
    return found


def _own_compute(desk: Desk) -> float:
    """FLOPs of all phases of the recipe."""
    model, phases = desk.plan.recipe.model, desk.plan.recipe.training.phases
    return sum(flops_per_token(model, one.sequence_length) * one.steps * one.tokens_per_step for one in phases)
