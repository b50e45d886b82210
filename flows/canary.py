"""The canary: a run of the baseline made again now, beside the recorded one of the same seed. Other digits: libraries or hardware moved."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from contracts.errors import InputError
from flows.baseline import bare, baseline_run, result_of, rulings
from flows.desk import Desk
from flows.plan import Arm, Node
from tasks.ablation.config import Court
from tasks.ablation.drift import Canary, compare_canary, drift
from tasks.ablation.results import Drift
from tasks.evaluation.scores import FILE, read

Bring = Callable[[Node, Desk], Any]
"""Brings a stage into being."""


@dataclass(frozen=True)
class Song:
    """What the canary says."""

    verdict: Canary
    label: str
    """Under which the run was made again."""
    seed: int
    changed: list[Drift] = field(default_factory=list)
    """Libraries and properties of the machine that are not the same."""


def week(now: datetime) -> str:
    """Label of a canary: it sings once a week, however often it is asked."""
    year, number, _ = now.isocalendar()
    return f"{year}-W{number:02d}"


def sing(desk: Desk, case: Court, label: str, bring: Bring) -> Song:
    """Train and measure the baseline of `case` again under `label`, and compare it with the recorded run of its first seed.

    Raises:
        InputError: one of the two has no value of the court's metric: it diverged.
    """
    start, seed = bare(desk), case.seeds[0]
    runs = {name: _made(start, baseline_run(start.plan, case, seed, repeat), bring) for name, repeat in (("recorded", ""), (label, label))}
    noise, freedom = _noise(desk, case)
    then, now = (_value(run, case.metric) for run in runs.values())
    verdict = compare_canary(then, now, noise, freedom, confidence=case.confidence, metric=case.metric)
    trained = {name: run.plan.node("train-arm") for name, run in runs.items()}
    manifests = {f"{name}.train": start.store.require(node.name, node.fingerprint).manifest for name, node in trained.items()}
    return Song(verdict, label, seed, drift({role: one.model_dump(mode="json") for role, one in manifests.items()}, {}))


def _made(start: Desk, arm: Arm, bring: Bring) -> Desk:
    """The desk of a run that is there as far as its evaluation."""
    made = start.of_arm(arm)
    for node in [*arm.plan.upstream(arm.evaluate), arm.evaluate]:
        bring(node, made)
    return made


def _value(desk: Desk, metric: str) -> float:
    node = desk.plan.node("evaluate")
    folder = desk.store.materialise(desk.store.require(node.name, node.fingerprint), desk.site.scratch / "court", [FILE])
    found = read(folder).values()
    if metric not in found:
        do = "read the report of that run; a canary needs a baseline that trains to its end"
        raise InputError(f"the run has no {metric}: it diverged, or its suite does not measure that", where=node.fingerprint[:12], do=do)
    return found[metric]


def _noise(desk: Desk, case: Court) -> tuple[float | None, int]:
    """Standard deviation of one run with its degrees of freedom, from the newest court over this baseline at this length."""
    for ruling in reversed(rulings(desk)):
        if (ruling.case.tokens, ruling.case.metric) == (case.tokens, case.metric):
            for effect in result_of(desk, ruling.artifact).effects:
                if effect.metric == case.metric and effect.noise is not None:
                    return effect.noise, effect.degrees_of_freedom
    return None, 0
