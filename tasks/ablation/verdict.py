"""From differences to verdicts on one metric: better, worse, within noise, or under-powered with the seeds that would decide."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from tasks.ablation.config import Case, Court
from tasks.ablation.dunnett import critical_value, loading
from tasks.ablation.results import BASELINE, Effect, Outcome
from tasks.ablation.statistics import Comparison, Contrast, Noise, Pairing, Values, compare

__all__ = ["NOISE_CONFIDENCE", "SEEDS_LIMIT", "Terms", "effects", "outcome", "seeds_to_decide"]

NOISE_CONFIDENCE = 0.8
"""A noise that is known from few runs must not promise too much: plans take the upper end of its one-sided interval."""
SEEDS_LIMIT = 1000
"""More seeds than this decide nothing that anybody would pay for."""


@dataclass(frozen=True)
class Terms:
    """What was settled before the runs."""

    confidence: float
    """Of all arms together, on one metric."""
    power: float
    """At which a difference of the tolerance is to be found."""
    pairing: Pairing = "none"
    """Whether differences are taken within seeds."""
    tokens: int = 0
    """Tokens of one run; 0: the court does not set them."""

    @classmethod
    def of(cls, court: Case, metrics: int = 1) -> Terms:
        """The court's terms; a metric that does not decide shares the risk of a false alarm with the others of its kind (Bonferroni)."""
        tokens = court.tokens if isinstance(court, Court) else 0
        return cls(1 - (1 - court.confidence) / metrics, court.power, court.pairing, tokens)


def outcome(low: float | None, high: float | None, tolerance: float, lower_is_better: bool) -> Outcome:
    """The verdict that a simultaneous interval of arm minus baseline gives.

    better, worse: zero lies outside. within noise: the whole interval lies within the tolerance, so no difference that matters is left.
    under-powered: neither, or there is no interval.
    """
    if low is None or high is None:
        return "under-powered"
    if low > 0 or high < 0:
        return "better" if (high < 0) == lower_is_better else "worse"
    return "within noise" if -tolerance <= low and high <= tolerance else "under-powered"


def effects(
    values: Values,
    metric: str,
    lower_is_better: bool,
    tolerances: Mapping[str, float],
    terms: Terms,
    diverged: Mapping[str, int] | None = None,
) -> list[Effect]:
    """Every arm of `tolerances` on one metric.

    Args:
        values: see `tasks.ablation.statistics.Values`; runs that diverged are not in it.
        tolerances: arm -> smallest difference that matters.
        diverged: arm -> runs that diverged. One is enough for `worse`, and its survivors are not compared.
    """
    gone = {arm: number for arm, number in (diverged or {}).items() if number and arm != BASELINE}
    found = compare({arm: runs for arm, runs in values.items() if arm not in gone}, terms.confidence, terms.pairing)
    rows = []
    for arm, tolerance in tolerances.items():
        base = Effect(
            arm=arm,
            metric=metric,
            lower_is_better=lower_is_better,
            outcome="worse" if arm in gone else "under-powered",
            diverged=gone.get(arm, 0),
            seeds=len(values.get(arm, {})),
            baseline_seeds=len(values.get(BASELINE, {})),
            noise=found.noise.deviation if found.noise else None,
            degrees_of_freedom=found.noise.degrees_of_freedom if found.noise else 0,
            paired_noise=found.paired.deviation if found.paired else None,
            paired_degrees_of_freedom=found.paired.degrees_of_freedom if found.paired else 0,
        )
        contrast = found.contrasts.get(arm)
        rows.append(base if contrast is None else _judged(base, contrast, tolerance, found, terms))
    return rows


def _judged(base: Effect, contrast: Contrast, tolerance: float, found: Comparison, terms: Terms) -> Effect:
    verdict = outcome(contrast.low, contrast.high, tolerance, base.lower_is_better)
    arms = len(found.contrasts)
    seeds = seeds_to_decide(found.deciding, arms, tolerance, terms) if verdict == "under-powered" else None
    return base.model_copy(
        update={
            "outcome": verdict,
            "value": contrast.value,
            "low": contrast.low,
            "high": contrast.high,
            "p_value": contrast.p_value,
            "seeds": contrast.runs,
            "baseline_seeds": contrast.baseline_runs,
            "seeds_to_decide": seeds,
            "tokens_to_decide": seeds * (arms + 1) * terms.tokens if seeds and terms.tokens else None,
        }
    )


def seeds_to_decide(noise: Noise | None, arms: int, tolerance: float, terms: Terms) -> int | None:
    """Smallest number of seeds of each of `arms` and the baseline that finds a true difference of `tolerance` with the court's power.

    The noise is taken at the upper end of its one-sided 80 % interval (chi-square). None: the noise is not known, or it takes more than
    `SEEDS_LIMIT`.
    """
    if noise is None:
        return None
    upper = noise.deviation * _upper_factor(noise.degrees_of_freedom)

    def enough(seeds: int) -> bool:
        return _detectable(seeds, arms, terms.confidence, terms.power, terms.pairing) * upper <= tolerance

    if not enough(SEEDS_LIMIT):
        return None
    low, high = 1, SEEDS_LIMIT
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


@cache
def _upper_factor(degrees_of_freedom: int) -> float:
    """Upper end of a standard deviation's one-sided interval, as a factor of the estimate."""
    from scipy.stats import chi2

    return float((degrees_of_freedom / chi2.ppf(1 - NOISE_CONFIDENCE, degrees_of_freedom)) ** 0.5)


@cache
def _detectable(seeds: int, arms: int, confidence: float, power: float, pairing: Pairing) -> float:
    """Smallest true difference, in standard deviations of a run, that `seeds` runs of each arm find with `power` (noncentral t)."""
    from scipy.optimize import brentq
    from scipy.special import nctdtr

    freedom = arms * (seeds - 1) if pairing == "seed" else (arms + 1) * (seeds - 1)
    bar = critical_value(confidence, (loading(1, 1),) * arms, freedom)
    shift = brentq(lambda shift: 1.0 - float(nctdtr(freedom, shift, bar)) - power, 0.0, 4.0 * bar + 10.0)
    return float(shift) * (2.0 / seeds) ** 0.5
