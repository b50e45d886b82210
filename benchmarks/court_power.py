"""False alarms and power of the ablation court, by simulation through the verdict that courts use.

    python -m benchmarks.court_power --sweeps 5000

A sweep is a baseline and some arms, each with some seeds; a run is a draw of bits per byte for every source, independent, with the noise of
real tiny runs (court_noise.yaml). A false alarm is a sweep without any effect in which some arm is called better or worse.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from scipy.stats import binomtest

from tasks.ablation.results import BASELINE, Effect
from tasks.ablation.verdict import Terms, effects

NOISE_FILE = Path(__file__).with_name("court_noise.yaml")
MEASURED: Mapping[str, Any] = yaml.safe_load(NOISE_FILE.read_text())
TERMS = Terms(confidence=0.95, power=0.8)
TOLERANCE = 0.02
SEED = 20251126
MEAN = "bits_per_byte"

Values = dict[str, dict[int, float]]
Judge = Callable[[Values], list[bool]]
"""Values of one sweep -> for each arm, whether it is called better or worse."""


@dataclass(frozen=True)
class Design:
    """Size of a sweep."""

    arms: int
    """Beside the baseline."""
    seeds: int
    """Of each arm and of the baseline."""

    @property
    def names(self) -> list[str]:
        return [f"arm{number}" for number in range(self.arms)]


@dataclass(frozen=True)
class Share:
    """How often something happened, with its two-sided 95 % Clopper-Pearson interval."""

    hits: int
    of: int

    @property
    def value(self) -> float:
        return self.hits / self.of

    @property
    def interval(self) -> tuple[float, float]:
        found = binomtest(self.hits, self.of).proportion_ci(confidence_level=0.95, method="exact")
        return float(found.low), float(found.high)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.value:.1%} [{low:.1%}, {high:.1%}]"


def sweeps(
    design: Design, number: int, rng: np.random.Generator, metric: str = MEAN, effect: Mapping[str, float] | None = None
) -> Iterator[Values]:
    """`number` sweeps as arm -> seed -> value of `metric` (a source, or the mean of all); the first arm has the `effect`."""
    noise = MEASURED["noise"]
    sources = list(noise) if metric == MEAN else [metric.partition("/")[2]]
    scale = np.array([noise[source] for source in sources])
    shift = np.array([(effect or {}).get(source, 0.0) for source in sources])
    for _ in range(number):
        runs = rng.normal(0.0, scale, (design.arms + 1, design.seeds, len(sources)))
        runs[1] += shift
        means = 3.0 + runs.mean(axis=2)
        yield {name: dict(enumerate(row)) for name, row in zip([BASELINE, *design.names], means.tolist(), strict=True)}


def verdicts(values: Values, metric: str = MEAN, tolerance: float = TOLERANCE, terms: Terms = TERMS) -> list[Effect]:
    """The court's verdicts on one sweep."""
    return effects(values, metric, True, {name: tolerance for name in values if name != BASELINE}, terms)


def court(values: Values) -> list[bool]:
    """Which arms the court calls better or worse."""
    return [one.outcome in ("better", "worse") for one in verdicts(values)]


def false_alarms(design: Design, number: int, judge: Judge = court, seed: int = SEED) -> Share:
    """Sweeps without any effect in which `judge` calls some arm better or worse."""
    rng = np.random.default_rng(seed)
    return Share(sum(any(judge(values)) for values in sweeps(design, number, rng)), number)


def power(effect: Mapping[str, float], design: Design, number: int, metric: str = MEAN, seed: int = SEED) -> Share:
    """Sweeps in which the first arm, which is worse by `effect`, is called worse."""
    rng = np.random.default_rng(seed)
    return Share(sum(verdicts(values, metric)[0].outcome == "worse" for values in sweeps(design, number, rng, metric, effect)), number)


@dataclass(frozen=True)
class Named:
    """What comes of doing what an under-powered verdict says."""

    under_powered: Share
    """First sweeps that ended under-powered."""
    found: Share
    """Of those, second sweeps with the named seeds that found the effect."""
    seeds: list[int]
    """The seeds that were named."""


def named_seeds(effect: Mapping[str, float], design: Design, number: int, metric: str, tolerance: float, seed: int = SEED) -> Named:
    """Holds a small court; where it ends under-powered, a new one with the seeds it named."""
    rng = np.random.default_rng(seed)
    named, found = [], 0
    for values in sweeps(design, number, rng, metric, effect):
        first = verdicts(values, metric, tolerance)[0]
        if first.outcome != "under-powered" or first.seeds_to_decide is None:
            continue
        named.append(first.seeds_to_decide)
        again = next(sweeps(Design(design.arms, first.seeds_to_decide), 1, rng, metric, effect))
        found += verdicts(again, metric, tolerance)[0].outcome == "worse"
    return Named(Share(len(named), number), Share(found, len(named)), named)


def main() -> None:
    """Print the tables of docs/benchmarks.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sweeps", type=int, default=5000)
    number = parser.parse_args().sweeps
    print(f"{number} sweeps each, seed {SEED}; noise of {MEASURED['measured']}\n")
    print("| arms | seeds | sweeps with a false alarm, 95 % |\n|---|---|---|")
    for design in (Design(2, 2), Design(5, 3), Design(9, 2)):
        print(f"| {design.arms} | {design.seeds} | {false_alarms(design, number)} |", flush=True)
    print("\n| planted change | metric | arms | seeds | found, 95 % |\n|---|---|---|---|---|")
    for name, effect in MEASURED["effects"].items():
        for metric in (MEAN, *(f"{MEAN}/{source}" for source in MEASURED["noise"])):
            for seeds in (2, 4, 6):
                print(f"| {name} | {metric} | 2 | {seeds} | {power(effect, Design(2, seeds), number // 4, metric)} |", flush=True)
    print("\n| planted change | metric | tolerance | under-powered, 2 seeds | found with the seeds named | seeds named, median (largest) |")
    print("|---|---|---|---|---|---|")
    effect = MEASURED["effects"]["30 % of the prose replaced by noise"]
    for metric, tolerance in ((f"{MEAN}/prose", 0.055), (f"{MEAN}/prose", TOLERANCE), (MEAN, 0.042), (MEAN, TOLERANCE)):
        told = named_seeds(effect, Design(2, 2), number // 4, metric, tolerance)
        named = f"{int(np.median(told.seeds))} ({max(told.seeds)})"
        print(f"| 30 % noise | {metric} | {tolerance} | {told.under_powered} | {told.found} | {named} |", flush=True)


if __name__ == "__main__":
    main()
