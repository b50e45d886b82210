"""From the measurements that the stages after pretraining left to what the report and the model card show of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from contracts.errors import InputError
from tasks.evaluation import Answered, bootstrap_difference, wilson
from tasks.merging import Panel, Share
from tasks.posttraining import Cell, SkillScores, Vibe, compare, read_skills
from tasks.posttraining import Change as Compared
from tasks.reporting.interval import Interval
from tasks.reporting.lineage import MERGE, Manifests, inputs_of, parents_of
from tasks.reporting.skills_plot import in_lineage
from tasks.reporting.skills_view import Answers, Change, PanelCell, PanelRow, PanelView, SkillCell, SkillStep

MEASURE = "measure"
SKILLS, PANEL, VIBE = "skills.json", "panel.json", "vibe.json"
CONFIDENCE = 0.95
RESAMPLES = 2000
ANSWERS: tuple[Answers, ...] = ("greedy", "sampled")


def steps_of(manifests: Manifests, folders: Mapping[str, Path]) -> list[SkillStep]:
    """Every measured model from base to merge, each beside the one it started from, a parent before its children.

    Args:
        folders: stage -> local folder with its skills.json, of the stages `measure-*` and of `merge`.

    Raises:
        InputError: a measurement that cannot be read.
    """
    scores = {stage: one for stage, one in _measured(manifests, folders) if one.side == "validation"}
    panel = panel_of(manifests)
    above = {stage: _measured_parents(manifests, stage, scores) for stage in scores}
    found = []
    for stage in in_lineage(above):
        parents = above[stage]
        beside = _best_parent(panel, scores) if stage == MERGE else next(iter(parents), "")
        found.append(_step(stage, scores[stage], beside, scores.get(beside), parents))
    return found


def final_of(manifests: Manifests, folders: Mapping[str, Path]) -> SkillStep | None:
    """The one model that was measured on the test items; None where none was."""
    read = [(stage, one) for stage, one in _measured(manifests, folders) if one.side == "test"]
    return _step(*read[-1], "", None, []) if read else None


def panel_of(manifests: Manifests) -> PanelView | None:
    """The merge panel, from the manifest of `merge`."""
    found = manifests.get(MERGE, {}).get("evidence", {}).get("panel")
    return panel_view(Panel.parse(found, "manifest of merge")) if found else None


def panel_view(panel: Panel) -> PanelView:
    """A panel as a table."""
    rows = [
        PanelRow(
            name=row.name,
            merged=row.merged,
            how=row.how,
            cells=[PanelCell(accuracy=_of(row.cells.get(name)), weakest=name == row.weakest) for name in panel.required],
            mean=_of(row.pooled),
            verdict=_verdict(panel, row.name, row.missing, row.level),
            chosen=row.name == panel.winner,
            seconds=row.seconds,
        )
        for row in panel.standings
    ]
    answers: Answers = "sampled" if panel.answers == "sampled" else "greedy"
    return PanelView(columns=panel.required, rows=rows, why=panel.why, answers=answers, confidence=panel.confidence)


def vibe_of(folders: Mapping[str, Path]) -> Vibe | None:
    """The answers of the vibe check; None where none was held."""
    files = [folder / VIBE for folder in folders.values() if (folder / VIBE).is_file()]
    return Vibe.parse(json.loads(files[-1].read_text(encoding="utf-8")), VIBE) if files else None


def _measured(manifests: Manifests, folders: Mapping[str, Path]) -> list[tuple[str, SkillScores]]:
    """(stage whose model was measured, its scores)."""
    found = []
    for stage in manifests:
        folder = folders.get(stage)
        if folder is None or not (folder / SKILLS).is_file():
            continue
        if stage.partition("-")[0] == MEASURE:
            found.append((inputs_of(manifests, stage).get("model", stage.partition("-")[2]), read_skills(folder)))
        elif stage == MERGE:
            found.append((stage, read_skills(folder)))
    return found


def _measured_parents(manifests: Manifests, stage: str, scores: Mapping[str, Any]) -> list[str]:
    """The nearest measured stages that a model comes from."""
    found: list[str] = []
    for parent in parents_of(manifests, stage):
        found += [parent] if parent in scores else _measured_parents(manifests, parent, scores)
    return list(dict.fromkeys(found))


def _best_parent(panel: PanelView | None, scores: Mapping[str, Any]) -> str:
    """The model that a merge is compared with: the best of the panel that is no merge."""
    return next((row.name for row in panel.rows if not row.merged and row.name in scores), "") if panel else ""


def _step(stage: str, scores: SkillScores, beside: str, before: SkillScores | None, parents: Sequence[str]) -> SkillStep:
    changes = _changes(before, scores) if before is not None else {}
    greedy = [cell for cell in scores.cells if cell.decoding == "greedy"]
    return SkillStep(
        stage=stage,
        parent=beside if changes else (parents[0] if len(parents) == 1 else ""),
        parents=list(parents) if len(parents) > 1 or stage == MERGE else [],
        greedy=_pooled(scores, "greedy"),
        sampled=_pooled(scores, "sampled"),
        greedy_change=changes.get("all/greedy"),
        sampled_change=changes.get("all/sampled"),
        tasks=_mean_over_tasks(scores),
        tasks_change=changes.get("all/tasks"),
        items=sum(cell.items for cell in greedy),
        formatted=scores.pooled("greedy", lambda cell: cell.format),
        cells=[
            *(_cell(cell, changes.get(cell.name)) for cell in scores.cells),
            *(_task(name, one, changes.get(name)) for name, one in scores.tasks.items()),
        ],
    )


def _changes(before: SkillScores, after: SkillScores) -> dict[str, Change]:
    """Name -> change; empty where the two were asked other questions, which do not compare."""
    try:
        return {one.name: _change(one) for one in compare(before, after, CONFIDENCE)}
    except InputError:
        return {}


def _change(one: Compared) -> Change:
    return Change(outcome=one.verdict, difference=Interval(value=one.difference, low=one.low, high=one.high))


def _cell(cell: Cell, change: Change | None) -> SkillCell:
    return SkillCell(
        skill=cell.skill,
        mode=cell.mode,
        answers=cell.decoding,
        accuracy=_share(sum(cell.correct), cell.items),
        items=cell.items,
        formatted=cell.format,
        truncated=sum(cell.cut) / max(1, cell.items),
        tokens=sum(cell.tokens) / max(1, cell.items),
        change=change,
    )


def _task(name: str, one: Answered, change: Change | None) -> SkillCell:
    task, _, mode = name.partition("/")
    answers: Literal["greedy", "sampled", "ranked"] = "sampled" if one.decoding else "greedy"
    return SkillCell(
        skill=task,
        mode=mode,
        answers=answers if one.generative else "ranked",
        accuracy=_share(sum(one.right), len(one.right)),
        items=len(one.right),
        attempts=one.samples,
        chance=one.chance,
        change=change,
    )


def _mean_over_tasks(scores: SkillScores) -> Interval | None:
    """Every task counts alike; items are drawn within each."""
    if not scores.tasks:
        return None
    rights = [np.array(one.right, float) for one in scores.tasks.values()]
    groups = [((right, np.ones(len(right))), (np.zeros(len(right)), np.ones(len(right)))) for right in rights]
    low, high = bootstrap_difference(groups, confidence=CONFIDENCE, resamples=RESAMPLES, seed=0) or (None, None)
    return Interval(value=float(np.mean([right.mean() for right in rights])), low=low, high=high)


def _pooled(scores: SkillScores, answers: Answers) -> Interval:
    counted = list(scores.of(answers).values())
    return _share(sum(right for right, _ in counted), sum(items for _, items in counted))


def _share(right: float, items: int) -> Interval:
    low, high = wilson(right, items, CONFIDENCE) if items else (None, None)
    return Interval(value=right / max(1, items), low=low, high=high)


def _of(share: Share | None) -> Interval | None:
    return None if share is None else Interval(value=share.value, low=share.low, high=share.high)


def _verdict(panel: Panel, name: str, missing: Sequence[str], level: bool) -> str:
    if missing:
        return f"cannot win: {', '.join(missing)} was not measured"
    if name == panel.winner:
        return "chosen"
    return "level with the best by its weakest skill" if level else "behind"
