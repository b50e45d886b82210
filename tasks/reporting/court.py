"""The page of one court: the verdicts in a sentence each, what was preregistered, what is accepted, plots, and every run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tasks.ablation import CourtResult, Run
from tasks.reporting.axes import short
from tasks.reporting.curves import heldout_panels, training_panels
from tasks.reporting.effects import effect_plot
from tasks.reporting.heat import heat_map, leaf
from tasks.reporting.matrix import matrix_plot
from tasks.reporting.page import environment, stylesheet
from tasks.reporting.response import response_plot
from tasks.reporting.shares import share_plot
from tasks.reporting.verdicts import metric_words, runs_of
from tasks.reporting.view import Link

if TYPE_CHECKING:
    from markupsafe import Markup


@dataclass(frozen=True)
class Case:
    """A court with its plots, ready for a template."""

    court: CourtResult
    summary: str
    facts: dict[str, str]
    runs: list[Run]
    matrix: Markup
    effects: Markup
    heldout: list[Markup]
    training: list[Markup]
    sweeps: list[tuple[str, Markup]]


def render_court(result: CourtResult, links: Sequence[Link] = ()) -> str:
    """A page that stands alone: HTML text without scripts or addresses from outside; text from data is escaped.

    Args:
        links: where to look further (Prefect, MLflow, the artifact's folder).
    """
    from markupsafe import Markup

    page = environment().get_template("court.html.j2")
    return page.render(case=case(result), links=list(links), style=Markup(stylesheet()))


def case(court: CourtResult) -> Case:
    """Facts, rows and plots of a court."""
    from markupsafe import Markup  # every label is escaped where the plots are built

    return Case(
        court=court,
        summary=summary(court),
        facts=_facts(court),
        runs=[run for arm in court.arms for run in runs_of(court, arm)],
        matrix=Markup(matrix_plot(court)),
        effects=Markup(effect_plot(court)),
        heldout=[Markup(svg) for svg in heldout_panels(court)],
        training=[Markup(svg) for svg in training_panels(court)],
        sweeps=[(name, Markup(_sweep(court, name))) for name in court.sweeps],
    )


def summary(court: CourtResult) -> str:
    """What the court decided, in one sentence."""
    accepted = [one.modification.name for one in court.decisions if one.state == "accepted"]
    count = len(court.decisions)
    tested = f"{count} change{'s' * (count != 1)} tested"
    if not accepted:
        return f"{tested}, none accepted: the baseline is kept."
    return f"{tested}, {len(accepted)} accepted: {', '.join(accepted)}."


def _facts(court: CourtResult) -> dict[str, str]:
    seeds = ", ".join(map(str, court.seeds))
    pairing = "between runs of the same seed" if court.pairing == "seed" else "between means of the arms' seeds"
    facts = {
        "stands before": court.before,
        "decides": metric_words(court.metric),
        "why it may": court.votes.get(court.metric, "not said"),
        _length_of(court): f"{court.tokens:,} ({short(court.tokens)})",
        "seeds of every arm": f"{len(court.seeds)} ({seeds})" + (": one seed gives no measure of noise" if len(court.seeds) == 1 else ""),
        "confidence": f"{court.confidence:.0%}, of all arms of this court together",
        "power": f"{court.power:.0%}, of the number of seeds that would decide",
        "differences": pairing,
    }
    noise = next((e for e in court.effects if e.metric == court.metric and e.noise is not None), None)
    if noise is not None:
        paired = f"; pairing by seed would leave {noise.paired_noise:.4f}" if noise.paired_noise is not None else ""
        facts["noise of one run"] = f"{noise.noise:.4f} (standard deviation, {noise.degrees_of_freedom} degrees of freedom){paired}"
    return facts | {f"baseline {leaf(path)}": f"{value} ({path})" for path, value in court.baseline.items()}


def _length_of(court: CourtResult) -> str:
    """After pretraining an arm may be longer than the baseline: more passes, more pairs."""
    lengths = [run.tokens for run in court.runs if run.metrics]
    return "tokens of every run" if not lengths or max(lengths) <= 1.05 * min(lengths) else "tokens of the baseline's runs"


def _sweep(court: CourtResult, name: str) -> str:
    if name in court.responses:
        return share_plot(court.responses[name])
    return heat_map(court, name) if len(court.sweeps[name]) == 2 else response_plot(court, name)
