"""The model card: Markdown for people and for a hub, written from manifests and the measurements that they name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.reporting.axes import duration
from tasks.reporting.card_facts import POST, Card, base_rows, chat_sources, cost, gates, made, model_facts, settings, text_sources
from tasks.reporting.interval import Interval
from tasks.reporting.lineage import Manifests, ancestry, weights_line
from tasks.reporting.page import HERE
from tasks.reporting.skills import final_of, panel_of, steps_of
from tasks.reporting.skills_plot import LOOK
from tasks.reporting.skills_view import Change, SkillCell, SkillStep
from tasks.reporting.verdicts import LOOKS, signed

_SPECIAL = re.compile(r"([\\`*_\[\]<>|#])")
_BREAK = re.compile(r"\s*[\r\n]\s*")
POOR = 0.5
"""A cell below it is named among the limits."""


def card_of(
    recipe: Mapping[str, Any],
    manifests: Manifests,
    folders: Mapping[str, Path],
    released: str,
    records: Mapping[str, Mapping[str, Mapping[str, Any]]] | None = None,
) -> Card:
    """The facts of the model that the stage `released` left.

    Args:
        recipe: its name and purpose are read, nothing else.
        manifests: stage -> manifest as JSON, of every stage of the line.
        folders: stage -> local folder with its skills.json: differences between two models need their answers, item by item.
        records: stage -> records beside its artifact.
    """
    line, whole = weights_line(manifests, released), ancestry(manifests, released)
    purpose = recipe.get("purpose", {})
    post = [stage for stage in manifests if stage.partition("-")[0] in POST]
    steps = steps_of(manifests, folders)
    newest: Mapping[str, Any] = max(manifests.values(), key=lambda one: str(one.get("created", "")), default={})
    return Card(
        name=str(recipe["name"]),
        question=str(purpose.get("question", "")),
        why=str(purpose.get("why", "")),
        demonstration=bool(purpose.get("demonstration", False)),
        target=purpose.get("target", {}),
        released=released,
        model=model_facts(manifests, line),
        modes="answers with or without a reasoning trace: /think, /no_think" if post else "",
        lineage=made(manifests, released),
        text=text_sources(manifests, line),
        chat=chat_sources(manifests, [stage for stage in whole if stage in post]),
        settings=settings(manifests, line),
        base=base_rows(manifests),
        steps=steps,
        tasks=[cell for step in steps if step.stage == released for cell in step.cells if cell.attempts],
        final=final_of(manifests, folders),
        panel=panel_of(manifests),
        gates=gates(records or {}),
        cost=cost(manifests, purpose.get("budget", {})),
        versions={str(name): str(version) for name, version in newest.get("versions", {}).items()},
    )


def render_card(card: Card, manifests: Manifests) -> str:
    """card.md. What came from data cannot break the tables or bring markup of its own."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    room = Environment(
        loader=FileSystemLoader(HERE), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False, finalize=_plain
    )
    room.filters.update(share=_share, change=_change, duration=duration, figure=_figure)
    shaped = set(weights_line(manifests, card.released))
    text = room.get_template("model_card.md.j2").render(card=card, shaped=shaped, limits=limits_of(card), gains=gains_of(card, shaped))
    return re.sub(r"\n{3,}", "\n\n", text).rstrip() + "\n"


def gains_of(card: Card, shaped: set[str]) -> list[str]:
    """One sentence for every gain, loss and lack of either, naming the stage it came from; those outside the released model come last."""
    told = [(step, _sentences(step)) for step in card.steps if step.greedy_change or step.sampled_change]
    inside = [one for step, sentences in told if step.stage in shaped for one in sentences]
    outside = [_Made(f"(not in the released model) {one}") for step, sentences in told if step.stage not in shaped for one in sentences]
    return [*inside, *outside] or ["No step was measured beside its parent."]


def limits_of(card: Card) -> list[str]:
    """What the figures say the model cannot do, one sentence each."""
    found: list[str] = []
    if card.demonstration:
        found.append("Made to show a workflow; it has read far too little text to know anything.")
    shown = card.final or next((step for step in reversed(card.steps) if step.stage == card.released), None)
    cells = list(shown.cells) if shown else []
    cells += [one for one in card.tasks if one.skill not in {cell.skill for cell in cells}]
    for cell in cells:
        if cell.attempts and cell.accuracy.low is not None and cell.accuracy.low <= cell.chance:
            found.append(f"{_cell(cell)}: not told from guessing ({_share(cell.accuracy)}, guessing scores {cell.chance:.2f}).")
        elif cell.accuracy.value < POOR:
            found.append(f"{_cell(cell)}: right in {_share(cell.accuracy)} of {cell.items} held-out items.")
    cut = [cell for cell in cells if cell.truncated is not None and cell.truncated > 0.02]
    found += [f"{_cell(cell)}: {cell.truncated:.1%} of its answers reach the length limit." for cell in cut]
    if cells:
        skills = sorted({str(_plain(cell.skill)) for cell in cells})
        found.append(f"After pretraining it was measured on {', '.join(skills)} alone; what else it can do, or has lost, is not known.")
    found.append("No safety training was done and no safety was measured.")
    if any("not recorded" in one.licences or "not stated" in one.licences for one in card.text):
        found.append("Part of its training text has no recorded licence; see Data.")
    return [_Made(one) for one in found]


def _sentences(step: SkillStep) -> list[str]:
    stage, beside = _plain(step.stage), _plain(step.parent)
    found = []
    over = "all skills and modes"
    for answers, value, change, what in (
        ("greedy", step.greedy, step.greedy_change, over),
        ("sampled", step.sampled, step.sampled_change, over),
        ("tasks", step.tasks, step.tasks_change, "mean over tasks"),
    ):
        if change is not None:
            found.append(f"**{stage}**, {answers}: {_change(change)}, now {_share(value)} (beside {beside}, {what}).")
    told = [cell for cell in step.cells if cell.change is not None and cell.change.outcome != "no gain outside its interval"]
    if told:
        each = "; ".join(f"{_cell(cell)} {_change(cell.change)}, now {_share(cell.accuracy)}" for cell in told)
        found.append(f"**{stage}**, one by one: {each}.")
    return [_Made(one) for one in found]


def _cell(cell: SkillCell) -> str:
    return str(_plain(f"{cell.skill}{'/' if cell.mode else ''}{cell.mode} {cell.answers}"))


def _figure(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _share(value: Interval | None) -> str:
    if value is None:
        return "-"
    if value.low is None or value.high is None:
        return f"{value.value:.3f}"
    return _Made(f"{value.value:.3f} [{value.low:.3f}, {value.high:.3f}]")


def _change(change: Change | None) -> str:
    if change is None:
        return "-"
    low, high = change.difference.low, change.difference.high
    between = f" [{signed(low)}, {signed(high)}]" if low is not None and high is not None else ""
    return _Made(f"{LOOKS[LOOK[change.outcome]].sign} {change.outcome} {signed(change.difference.value)}{between}")


class _Made(str):
    """Text that was composed here, with its own markup."""


def _plain(value: Any) -> Any:
    """What a `{{ }}` prints: text from data on one line, its Markdown and HTML harmless."""
    if not isinstance(value, str) or isinstance(value, _Made):
        return value
    return _SPECIAL.sub(r"\\\1", _BREAK.sub(" ", value))
