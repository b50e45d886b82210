"""From recipe, manifests and artifact folders to the view of one run, and the body of the stage `report`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from models.config import ModelConfig
from models.count import parameters
from models.memory import GIB
from tasks.ablation import CourtResult
from tasks.posttraining import approval_of
from tasks.reporting import ablations, corpus, lineage, measured, skills
from tasks.reporting.axes import duration, short
from tasks.reporting.view import Check, Link, PhaseCurve, ReportView, StageState, StageView

FILES: dict[str, list[str]] = {
    "train": ["metrics.jsonl"],
    "convert": ["parity.json"],
    "evaluate": [measured.SCORES, "samples.json"],
    ablations.QUALIFY: [ablations.QUALIFICATION],
    ablations.COURT: [ablations.FILE],
    skills.MEASURE: [skills.SKILLS],
    lineage.MERGE: [skills.SKILLS, skills.PANEL],
    "vibe": [skills.VIBE],
}
"""Files of an artifact that the report reads, by kind of stage; of kinds not named here it reads the manifest alone."""

REPORT = "report"


def build_view(
    recipe: Mapping[str, Any],
    manifests: Mapping[str, Mapping[str, Any]],
    folders: Mapping[str, Path],
    *,
    states: Mapping[str, StageState] | None = None,
    inputs: Mapping[str, Mapping[str, str]] | None = None,
    records: Mapping[str, Mapping[str, Mapping[str, Any]]] | None = None,
    links: Sequence[Link] = (),
    recipe_yaml: str = "",
    plan: str = "",
    model_path: str = "",
    now: datetime | None = None,
) -> ReportView:
    """The view of one run.

    Args:
        recipe: the resolved recipe as JSON.
        manifests: stage -> manifest as JSON; a stage that is not there has not run, and the page says so.
        folders: stage -> local folder with (some of) its files.
        states: stage -> what happened to it in this run; unset: every stage with a manifest ran.
        inputs: stage -> {role: stage}, for stages that have no manifest yet.
        records: stage -> {name: record}, the verdicts of the gates beside each artifact.
        links: where to look further.
        recipe_yaml: text of the resolved recipe.
        plan: the plan as text.
        model_path: folder of the final model, for the line that loads it.
        now: time of the report; unset: this moment, UTC.
    """
    courts = ablations.courts(folders)
    phases = _phases(recipe, manifests, folders, courts)
    newest = _newest(manifests)
    evaluated = measured.Measured(folders.get("evaluate"))
    return ReportView(
        recipe=str(recipe["name"]),
        recipe_yaml=recipe_yaml,
        question=str(recipe.get("purpose", {}).get("question", "")),
        created=(now or datetime.now(UTC)).strftime("%Y-%m-%d %H:%M UTC"),
        headline=_headline(recipe),
        stages=ablations.placed(_stages(manifests, states or {}, inputs or {}), recipe),
        qualification=ablations.qualification(folders),
        courts=courts,
        phases=phases,
        sources=corpus.sources(manifests, phases),
        tokenizer=corpus.tokenizer(manifests, recipe.get("tokenizer", {})),
        parity=measured.parity_checks(folders.get("convert")),
        bits_per_byte=evaluated.bits_per_byte(),
        accuracies=evaluated.accuracies(),
        samples=measured.samples(folders.get("evaluate"), recipe.get("evaluation", {}).get("samples", {})),
        steps=skills.steps_of(manifests, folders),
        final=skills.final_of(manifests, folders),
        panel=skills.panel_of(manifests),
        vibe=skills.vibe_of(folders),
        approval=approval_of((records or {}).get("vibe", {})),
        gates=_gates(records or {}),
        plan=plan,
        versions={str(k): str(v) for k, v in newest.get("versions", {}).items()},
        machine=_machine(newest.get("machine", {})),
        links=list(links),
        model_path=model_path,
        missing=[*_missing(manifests), *evaluated.remarks()],
    )


def _phases(
    recipe: Mapping[str, Any], manifests: Mapping[str, Mapping[str, Any]], folders: Mapping[str, Path], courts: Sequence[CourtResult]
) -> list[PhaseCurve]:
    found: list[PhaseCurve] = []
    phases = recipe.get("training", {}).get("phases", [])
    verdicts = ablations.accepted(courts, [str(phase["name"]) for phase in phases])
    for phase in phases:
        stage = f"train-{phase['name']}"
        if stage in manifests:
            start = found[-1].end_tokens if found else 0.0
            curve = measured.phase_curve(phase, folders.get(stage), manifests[stage], start)
            found.append(curve.model_copy(update={"verdicts": verdicts[phase["name"]]}))
    return found


def _stages(
    manifests: Mapping[str, Mapping[str, Any]], states: Mapping[str, StageState], inputs: Mapping[str, Mapping[str, str]]
) -> list[StageView]:
    names = list(dict.fromkeys([*inputs, *manifests]))
    views = []
    for name in names:
        manifest = manifests.get(name, {})
        read = {role: str(ref["stage"]) for role, ref in manifest.get("inputs", {}).items()} or dict(inputs.get(name, {}))
        seconds = manifest.get("cost", {}).get("seconds")
        views.append(
            StageView(
                name=name,
                kind="reporting" if name == REPORT else name.partition("-")[0],
                state=states.get(name, "ran" if manifest or name == REPORT else "waiting"),  # the page itself is made while it is written
                seconds=None if seconds is None else float(seconds),
                fingerprint=str(manifest.get("fingerprint", "")),
                inputs=read,
                created=str(manifest.get("created", ""))[:19].replace("T", " "),
                manifest=dict(manifest),
            )
        )
    return views


def _headline(recipe: Mapping[str, Any]) -> dict[str, str]:
    if "model" not in recipe:
        return {}
    model = ModelConfig.parse(recipe["model"])
    return {
        "parameters": short(parameters(model)),
        "layers x width": f"{model.num_layers} x {model.hidden_size}",
        "vocabulary": f"{model.vocab_size:,}",
    }


def _gates(records: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[Check]:
    found = []
    for stage, by_name in records.items():
        for record in by_name.values():
            if "gate" not in record:
                continue
            problems, waiver = "; ".join(record.get("problems", [])), record.get("waiver")
            value = (problems or "no problem") + (f" (waived: {waiver})" if record.get("verdict") == "waived" else "")
            found.append(Check(name=f"{stage}: {record['gate']}", value=value, passed=record.get("verdict") == "passed"))
    return found


def _newest(manifests: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    return max(manifests.values(), key=lambda manifest: str(manifest.get("created", "")), default={})


def _machine(machine: Mapping[str, Any]) -> dict[str, str]:
    facts: dict[str, str] = {}
    for key, value in machine.items():
        if value in (None, "", []):
            continue
        name = str(key).removesuffix("_bytes").replace("_", " ")
        if str(key).endswith("_bytes"):
            facts[name] = f"{int(value) / GIB:.1f} GiB"
        else:
            facts[name] = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return facts


def _missing(manifests: Mapping[str, Mapping[str, Any]]) -> list[str]:
    needed = {"curate": "the data table", "convert": "the parity result", "evaluate": "the evaluation"}
    return [
        f"Without the stage '{stage}' this page has no {what.removeprefix('the ')}."
        for stage, what in needed.items()
        if stage not in manifests
    ]


def one_line(view: ReportView) -> str:
    """The run in one line, for a log."""
    wins = sum(row.wins for row in view.bits_per_byte)
    beats = f", beats the bigram on {wins} of {len(view.bits_per_byte)} sources" if view.bits_per_byte else ""
    return f"{view.recipe}: {len(view.stages)} stages, {duration(view.seconds)} of work{beats}"
