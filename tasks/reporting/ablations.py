"""What the courts of a run left, and where they stand in its DAG."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks.ablation import CourtResult, Decision
from tasks.evaluation import QualificationResult
from tasks.reporting.view import StageView

COURT, QUALIFY = "court", "qualify"
FILE, QUALIFICATION = "court.json", "qualification.json"


def courts(folders: Mapping[str, Path]) -> list[CourtResult]:
    """Every court that has decided, in the order of the stages.

    Raises:
        ConfigError: a court.json of another version.
    """
    files = {name: folder / FILE for name, folder in folders.items() if name.startswith(f"{COURT}-")}
    return [CourtResult.parse(json.loads(path.read_text()), f"{FILE} of {name}") for name, path in files.items() if path.is_file()]


def qualification(folders: Mapping[str, Path]) -> QualificationResult | None:
    """Which metrics may vote, where that was measured.

    Raises:
        ConfigError: a qualification.json of another version.
    """
    path = folders[QUALIFY] / QUALIFICATION if QUALIFY in folders else None
    return QualificationResult.parse(json.loads(path.read_text()), QUALIFICATION) if path and path.is_file() else None


def accepted(held: Sequence[CourtResult], phases: Sequence[str]) -> dict[str, list[str]]:
    """Phase -> one sentence for each change it was trained with that a court accepted: from the court's phase on."""
    found: dict[str, list[str]] = {phase: [] for phase in phases}
    for court in held:
        later = phases[phases.index(court.before) :] if court.before in phases else phases
        for one in court.decisions:
            if one.state != "accepted":
                continue
            changes = ", ".join(f"{path}: {court.baseline.get(path, '?')} → {value}" for path, value in one.accepted.items())
            for phase in later:
                if _touches(one, phase, phases):
                    found[phase].append(f"trained with {one.modification.name} ({changes}), accepted by {COURT}-{court.name}")
    return found


def placed(stages: Sequence[StageView], recipe: Mapping[str, Any]) -> list[StageView]:
    """The stages with courts and qualification in their places: what they read of runs that are no stages of this DAG is counted, and
    they stand between what the runs start from and the phase that they settle.
    """
    phases = [f"train-{phase['name']}" for phase in recipe.get("training", {}).get("phases", [])]
    views = {stage.name: _own(stage) for stage in stages}
    starts = {name: list(stage.inputs.values()) for name, stage in views.items()}
    for name, phase in _before(recipe, phases).items():
        if name in views and phase in views:
            views[name] = views[name].model_copy(update={"follows": starts[phase]})
            views[phase] = views[phase].model_copy(update={"follows": [*views[phase].follows, name]})
    return list(views.values())


def _own(stage: StageView) -> StageView:
    """The stage with its runs counted, where its inputs are `ARM.SEED...`: evaluations of runs, not that of the model."""
    if stage.kind not in (COURT, QUALIFY):
        return stage
    runs = (role.rpartition(".")[0] if stage.kind == QUALIFY else role.removesuffix(".train") for role in stage.inputs if "." in role)
    inputs = {role: source for role, source in stage.inputs.items() if "." not in role}
    return stage.model_copy(update={"inputs": inputs, "runs": len(set(runs))})


def _before(recipe: Mapping[str, Any], phases: Sequence[str]) -> dict[str, str]:
    """Stage of a court or of the qualification -> the training stage it stands before."""
    section = recipe.get("ablations") or {}
    if not phases:
        return {}
    found = {QUALIFY: phases[0]} if section.get("qualification") else {}
    found |= {f"{COURT}-{one['name']}": f"train-{one['before']}" if one.get("before") else phases[0] for one in section.get("courts", [])}
    return found | {f"{COURT}-{one['name']}": one["stage"] for one in section.get("steps", [])}


def _touches(one: Decision, phase: str, phases: Sequence[str]) -> bool:
    """False where every change is a field of another phase."""
    named = []
    for path in one.accepted:
        words = path.split(".")
        if words[0] != "posttraining":
            named.append(words[2] if words[:2] == ["training", "phases"] and len(words) > 2 else "*")
    places = {"*", phase, str(phases.index(phase))}
    return not one.accepted or any(name in places for name in named)
