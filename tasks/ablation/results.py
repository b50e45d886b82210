"""What a court leaves: court.json, the whole case as data. Tables, pages and the backlog's state are read from it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from contracts.config import Config
from tasks.ablation.config import Modification

__all__ = ["BASELINE", "CourtResult", "Decision", "Drift", "Effect", "Outcome", "Points", "Response", "Run", "State"]

BASELINE = "baseline"
Outcome = Literal["better", "worse", "within noise", "under-powered"]
State = Literal["accepted", "rejected", "tested"]
Points = list[tuple[float, float]]


class Run(Config):
    """One run of one arm."""

    arm: str
    """`baseline`, a modification's name, or a point of a sweep (NAME[VALUE] or NAME[VALUE,VALUE])."""
    seed: int
    """Its seed."""
    train: str = ""
    """Fingerprint of its training artifact."""
    evaluate: str = ""
    """Fingerprint of its evaluation."""
    metrics: dict[str, float] = Field({})
    """Metric -> value, read from the evaluation's sufficient statistics; empty where it diverged or was left out."""
    diverged_at: int | None = None
    """Step at which it was stopped as diverged."""
    left_out: str = ""
    """Why a person left it out."""
    tokens: int = 0
    """Tokens it was trained on."""
    seconds: float = 0.0
    """Wall time of training and evaluation."""
    tokens_per_second: float = 0.0
    """Throughput of its steps."""
    loss: Points = Field([])
    """(tokens, training loss), thinned."""
    heldout: dict[str, Points] = Field({})
    """Source -> (tokens, held-out loss)."""
    versions: dict[str, str] = Field({})
    """Library -> version."""
    machine: dict[str, Any] = Field({})
    """What it ran on."""


class Effect(Config):
    """Arm minus baseline on one metric, with the verdict on that metric."""

    arm: str
    """The arm."""
    metric: str
    """The metric."""
    lower_is_better: bool
    """Direction of the metric."""
    outcome: Outcome
    """The verdict on this metric, at the court's simultaneous confidence."""
    value: float | None = None
    """Mean difference, arm minus baseline; none where a side has no run."""
    low: float | None = None
    """Lower end of its simultaneous interval; none without degrees of freedom."""
    high: float | None = None
    """Upper end."""
    noise: float | None = None
    """Standard deviation of one run, pooled within arms."""
    degrees_of_freedom: int = 0
    """Of that pooled standard deviation."""
    paired_noise: float | None = None
    """What pairing by seed leaves of the noise: residual standard deviation of the model arm + seed over all arms (with one arm: that of
    the differences within a seed, divided by sqrt 2)."""
    paired_degrees_of_freedom: int = 0
    """Of that residual standard deviation."""
    diverged: int = 0
    """Runs of the arm that diverged; with any the verdict is `worse`, and no difference is given: those that survived say nothing fair."""
    p_value: float | None = None
    """Adjusted for all arms of the court."""
    seeds: int = 0
    """Runs of the arm that count."""
    baseline_seeds: int = 0
    """Runs of the baseline that count."""
    seeds_to_decide: int | None = None
    """Where under-powered: seeds of every arm and of the baseline that would find a difference of the tolerance."""
    tokens_to_decide: int | None = None
    """The same in tokens of all runs together."""


class Drift(Config):
    """Something that differs between compared runs beside the factor."""

    what: str
    """Library or property of the machine."""
    values: dict[str, list[str]]
    """Value -> runs (`ARM.SEED`)."""


class Decision(Config):
    """What became of one modification."""

    modification: Modification
    """As it was tested."""
    digest: str
    """Identity of its change and compensations: a modification that is written otherwise is another one."""
    state: State
    """accepted: part of the next baseline. rejected: worse, or without its benefit. tested: nothing decided, the baseline is kept."""
    outcome: Outcome
    """The verdict on the court's metric."""
    sentence: str
    """The verdict in one sentence, with size and budget it holds for."""
    accepted: dict[str, Any] = Field({})
    """Fields of the recipe and their new values, where it was accepted; of a sweep those of its best point."""
    parameters: int = 0
    """Parameters of the arm's model."""
    parameter_difference: float = 0.0
    """Relative difference to the baseline's."""
    flops_difference: float = 0.0
    """Relative difference of FLOPs per token."""
    benefits: dict[str, float] = Field({})
    """`speed` (relative throughput), `memory` (relative bytes of weights, gradients, optimizer), `cache` (relative bytes of the key/value
    cache), `stability` (fewer spikes a run)."""
    arm: str = ""
    """Arm that the decision rests on: of a sweep its best point."""


class Response(Config):
    """Response of a metric to the share of one source: a parabola through all runs (Smol Training Playbook, data curation)."""

    source: str
    """The source."""
    metric: str
    """The metric."""
    runs: Points
    """(share, value) of every run."""
    curve: list[tuple[float, float, float, float]]
    """(share, fitted value, lower and upper end of its interval) over the tried range."""
    optimum: float | None = None
    """Best share; none where the parabola has its best end at the edge of what was tried, or opens the wrong way."""
    low: float | None = None
    """Lower end of the optimum's interval."""
    high: float | None = None
    """Upper end."""
    sentence: str
    """What it says, with its limits."""


class CourtResult(Config):
    """court.json."""

    name: str
    """The court."""
    before: str
    """Phase it stands before."""
    metric: str
    """What decided."""
    votes: dict[str, str] = Field({})
    """Metric -> why it votes, or why it is only reported."""
    tokens: int
    """Tokens of every run."""
    seeds: list[int]
    """Seeds, as preregistered."""
    confidence: float
    """Of the whole court."""
    power: float
    """Of the number of seeds that would decide."""
    pairing: str
    """As preregistered."""
    size: str
    """What the verdicts hold for: parameters, tokens, data."""
    baseline: dict[str, Any]
    """Fields of the baseline that the court's arms change: path -> value."""
    arms: list[str]
    """Arms in the order of the table, the baseline first."""
    sweeps: dict[str, dict[str, list[Any]]] = Field({})
    """Modification that is a sweep -> its axes."""
    points: dict[str, dict[str, Any]] = Field({})
    """Arm -> fields of the recipe and their values."""
    runs: list[Run]
    """Every run, the missing ones too."""
    effects: list[Effect]
    """Every arm on every metric."""
    decisions: list[Decision]
    """Every modification."""
    accepted: list[str] = Field([])
    """Overrides of the recipe that make the next baseline, in the form a.b=c."""
    diff: list[str] = Field([])
    """The same for a reader: path: before -> after."""
    drift: list[Drift] = Field([])
    """What differs between compared runs beside the factor."""
    responses: dict[str, Response] = Field({})
    """Modification that sweeps the share of a source -> how the metric responds."""
    remarks: list[str] = Field([])
    """What a reader must know: blocked averages, diverged runs, one seed only..."""

    def effect(self, arm: str, metric: str) -> Effect | None:
        """The effect of `arm` on `metric`, if it was judged."""
        return next((one for one in self.effects if one.arm == arm and one.metric == metric), None)
