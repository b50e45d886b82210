"""What a court decided, for a table, a message and a terminal."""

from __future__ import annotations

from flows.baseline import version
from flows.recipe import Recipe
from tasks.ablation.results import BASELINE, CourtResult, Effect

SIGNS = {"better": "✓", "worse": "✗", "within noise": "≈", "under-powered": "?"}


def rows(court: CourtResult) -> list[dict[str, str]]:
    """Changes x metrics: arm, state, the verdict on the metric that decides with its interval, and every other metric's difference."""
    metrics = list(dict.fromkeys([court.metric, *(one.metric for one in court.effects)]))
    states = {name: one.state for one in court.decisions for name in court.arms if name.partition("[")[0] == one.modification.name}
    table = []
    for arm in court.arms:
        if arm == BASELINE:
            continue
        effects = {metric: court.effect(arm, metric) for metric in metrics}
        first = effects[court.metric]
        row = {"change": arm, "state": states.get(arm, ""), "verdict": first.outcome if first else ""}
        table.append(row | {metric: _cell(effect, metric == court.metric) for metric, effect in effects.items()})
    return table


def _cell(effect: Effect | None, whole: bool) -> str:
    if effect is None:
        return "-"
    if effect.diverged:
        return f"{effect.diverged} diverged"
    if effect.value is None:
        return "-"
    interval = f" [{effect.low:+.4f}, {effect.high:+.4f}]" if whole and effect.low is not None and effect.high is not None else ""
    return f"{SIGNS[effect.outcome]} {effect.value:+.4f}{interval}"


def sentences(court: CourtResult) -> list[str]:
    """The verdicts as sentences, and what a reader must know beside them."""
    moved = [f"Not the same in all runs: {one.what} ({', '.join(one.values)})." for one in court.drift]
    return [*(one.sentence for one in court.decisions), *court.remarks, *moved]


def proposal(court: CourtResult, fingerprint: str, recipe: Recipe, reference: str) -> list[str]:
    """The next baseline with its diff and how to adopt it; nothing but a person's adoption changes what a recipe trains."""
    if not court.accepted:
        return [f"Nothing is proposed: baseline v{version(recipe)} is kept."]
    command = f"smolflow adopt {fingerprint[:12]} --recipe {reference} --by NAME"
    return [f"Proposed: baseline v{version(recipe) + 1}", *(f"  {line}" for line in court.diff), f"Adopt it with: {command}"]
