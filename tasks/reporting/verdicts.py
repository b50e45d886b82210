"""How verdicts look on every page: a colour, a sign and a shape each, so that none is told by colour alone; and what a court's arms are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.ablation import BASELINE, CourtResult, Decision, Effect, Outcome, Run
from tasks.reporting.svg import cut, text

MINUS = "\u2212"


@dataclass(frozen=True)
class Look:
    """Sign and style class of one outcome."""

    sign: str
    tone: str


LOOKS: dict[Outcome, Look] = {
    "better": Look("✓", "better"),
    "worse": Look("✕", "worse"),
    "within noise": Look("≈", "noise"),
    "under-powered": Look("?", "weak"),
}
STATES = {"accepted": "✓ accepted", "rejected": "✕ rejected", "tested": "○ tested, baseline kept", "not chosen": "○ not the chosen point"}


def shape(outcome: Outcome, x: float, y: float, size: float = 6) -> str:
    """The outcome as a mark: better a disc, worse a square, within noise a diamond, under-powered a ring."""
    tone = LOOKS[outcome].tone
    if outcome == "worse":
        return f'<rect class="shape {tone}" x="{x - size:.1f}" y="{y - size:.1f}" width="{2 * size}" height="{2 * size}"/>'
    if outcome == "within noise":
        reach = size * 1.3
        path = f"M{x:.1f},{y - reach:.1f}l{reach},{reach}l{-reach},{reach}l{-reach},{-reach}z"
        return f'<path class="shape {tone}" d="{path}"/>'
    return f'<circle class="shape {tone}" cx="{x:.1f}" cy="{y:.1f}" r="{size}"/>'


def legend(left: float, y: float, *, shapes: bool) -> str:
    """One entry for each outcome: its shape, or the fill of its cell, with sign and name."""
    out = []
    for outcome, look in LOOKS.items():
        fill = f'<rect class="cell {look.tone}" x="{left}" y="{y - 11}" width="16" height="14" rx="3"/>'
        out.append(shape(outcome, left + 8, y - 4) if shapes else fill)
        words = outcome if shapes else f"{look.sign} {outcome}"
        out.append(text(left + 22, y, words))
        left += 48 + 7 * len(words)
    return "".join(out)


def signed(value: float, digits: int = 3) -> str:
    """A difference with its sign: +0.012, −0.401."""
    return f"{value:+.{digits}f}".replace("-", MINUS)


def difference(effect: Effect) -> str:
    """The difference with its interval, or why there is none."""
    if effect.diverged:
        return f"{effect.diverged} run{'s' * (effect.diverged != 1)} diverged"
    return f"{signed(effect.value)} {interval(effect) or '(no interval)'}" if effect.value is not None else "nothing to compare"


def interval(effect: Effect) -> str:
    """`[low, high]` of the simultaneous interval, or empty."""
    return "" if effect.low is None or effect.high is None else f"[{signed(effect.low)}, {signed(effect.high)}]"


def changed_arms(court: CourtResult) -> list[str]:
    """Every arm but the baseline, in the court's order."""
    return [arm for arm in court.arms if arm != BASELINE]


def decision(court: CourtResult, arm: str) -> Decision | None:
    """What became of the modification that `arm` belongs to."""
    name = arm.partition("[")[0]
    return next((one for one in court.decisions if one.modification.name in (arm, name)), None)


def state(court: CourtResult, arm: str) -> str:
    """State of the arm's modification; a sweep accepts one of its points and the others are `not chosen`."""
    found = decision(court, arm)
    if found is None:
        return "tested"
    return "not chosen" if found.state == "accepted" and arm != (found.arm or arm) else found.state


def runs_of(court: CourtResult, arm: str) -> list[Run]:
    """Every preregistered run of the arm, by seed; one that the court does not list is there without results."""
    listed = {run.seed: run for run in court.runs if run.arm == arm}
    seeds = [*court.seeds, *(seed for seed in sorted(listed) if seed not in court.seeds)]
    return [listed.get(seed, Run(arm=arm, seed=seed)) for seed in seeds]


def happened(run: Run) -> str:
    """What became of a run, in words: measured, diverged, left out with the reason, or missing."""
    if run.left_out:
        return f"left out: {run.left_out}"
    if run.diverged_at is not None:
        return f"diverged at step {run.diverged_at:,}"
    return "measured" if run.metrics else "missing: no evaluation was found"


def named(arm: str, most: int) -> str:
    """An arm's name in at most `most` characters; of a point of a sweep the point stays whole and the sweep's name is cut."""
    head, bracket, point = arm.partition("[")
    if len(arm) <= most or not bracket or len(point) > most - 6:
        return cut(arm, most)
    return cut(head, most - len(point) - 1) + bracket + point


def absence(runs: Sequence[Run]) -> str:
    """Why an arm has no value on a metric, in few words."""
    if any(run.diverged_at is not None for run in runs):
        return "diverged"
    return "left out" if any(run.left_out for run in runs) else "missing"


def metric_words(metric: str) -> str:
    """A metric's name for a reader: `bits per byte: code`, `accuracy: grammar pairs`."""
    head, _, rest = metric.partition("/")
    return head.replace("_", " ") + (f": {rest.replace('_', ' ')}" if rest else "")
