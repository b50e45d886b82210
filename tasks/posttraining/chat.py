"""The stage `chat`: all chat data of a recipe, in one form, linted, and cleared of what is held out."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from contracts.errors import InputError
from infra.job import Progress, Summary
from tasks.posttraining.chat_requests import ChatRequest, StepSources
from tasks.posttraining.chat_rows import identical, normal_row, samples_in
from tasks.posttraining.chat_sources import chat_snapshot, rows_of
from tasks.posttraining.config import ChatSource
from tasks.posttraining.decontamination import Decontamination
from tasks.posttraining.lint_report import LintReport, chat_problems
from tasks.posttraining.linter import Linter
from tasks.posttraining.model_folder import load_renderer
from tasks.posttraining.rendering import Renderer

LINT_FILE = "lint.json"
MAX_DROPPED = 0.5
"""A source that loses more than this share of its rows to held-out text was made from the same text as the benchmarks."""
_NOTE_EVERY = 500
SAID = {
    ("heldout_item", "task_item", "heldout_text"): "give away what is held out",
    ("identical_pair",): "prefer nothing: both answers are the same",
}
"""Reasons for which a row is dropped, those that count together -> what is said of a source that loses too much for them."""


@dataclass
class _Tally:
    """What became of one source's rows."""

    read: int = 0
    kept: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    tasks: Counter[str] = field(default_factory=Counter)
    """Task -> rows dropped because they give an item of it away; one row may do so for several."""
    examples: list[dict[str, str]] = field(default_factory=list)
    """The first row dropped for each reason."""

    def drop(self, reason: str, where: str, tasks: Sequence[str] = ()) -> None:
        if not self.dropped[reason]:
            self.examples.append({"reason": reason, "where": where} | ({"tasks": ", ".join(tasks)} if tasks else {}))
        self.dropped[reason] += 1
        self.tasks.update(tasks)

    def row(self, source: ChatSource) -> dict[str, Any]:
        return {
            "uri": source.uri, "mode": source.mode, "rows": self.read, "kept": self.kept, "dropped": dict(self.dropped),
            "tasks": dict(self.tasks), "examples": self.examples,
        }  # fmt: skip


def chat(config: Mapping[str, Any], inputs: Mapping[str, Path], out: Path, progress: Progress) -> Summary:
    """Write `STEP/SOURCE.jsonl` for every source of every step, and `STEP/lint.json`.

    Args:
        config: a `ChatRequest`.
        inputs: `model`, whose tokenizer renders; `curate`, whose held-out documents nothing may share text with, where there is one.

    Raises:
        ConfigError: a template or source that cannot be used.
        InputError: data that cannot be read, or of which nothing is left; a task whose items cannot be had, before any row is read.
    """
    request = ChatRequest.parse(config, "chat")
    renderer = load_renderer(inputs["model"], request.template)
    clean = Decontamination.against(request, inputs["model"], inputs.get("curate"))
    steps: dict[str, Any] = {}
    for number, step in enumerate(request.steps):
        steps[step.stage] = _step(request, step, renderer, clean, out, partial(progress, number, len(request.steps)))
    rows = [row for step in steps.values() for row in step["sources"].values()]
    counts = {"rows": sum(row["kept"] for row in rows), "dropped": sum(sum(row["dropped"].values()) for row in rows)}
    counts["tokens"] = sum(step["lint"]["size"] for step in steps.values())
    progress(len(steps), len(steps), f"{counts['rows']:,} rows, {counts['tokens']:,} tokens; {counts['dropped']:,} dropped")
    metrics = {f"coverage.{name}": step["lint"]["trained"] / max(1, step["lint"]["size"]) for name, step in steps.items()}
    snapshot = chat_snapshot(source for step in request.steps for source in step.sources)
    evidence = {"steps": steps, "decontamination": clean.evidence(), "snapshot": snapshot}
    return Summary(counts=counts, metrics=metrics, evidence=evidence)


def chat_data_problems(evidence: Mapping[str, Any]) -> list[str]:
    """The gate: what stops the data of any step from being trained on, a sentence each, from the evidence of the stage `chat`.

    Rules of the linter that are errors (system prompts lost, answers without a label, contradicting modes...), a source that is mostly
    held-out text, and pairs most of which prefer nothing.
    """
    problems = []
    for stage, step in evidence["steps"].items():
        problems += [f"{stage}: {line}" for line in chat_problems(LintReport.parse(step["lint"]))]
        for name, row in step["sources"].items():
            for reasons, said in SAID.items():
                count = sum(row["dropped"].get(reason, 0) for reason in reasons)
                if count > MAX_DROPPED * row["rows"]:
                    problems.append(f"{stage}: {count:,} of {row['rows']:,} rows of {name} {said}; take another source")
    return problems


def _step(request: ChatRequest, step: StepSources, renderer: Renderer, clean: Decontamination, out: Path, note: Any) -> dict[str, Any]:
    folder = out / step.stage
    folder.mkdir(parents=True)
    lint = request.lint if request.lint.length or not step.length else request.lint.model_copy(update={"length": step.length})
    linter, sources = Linter(lint, renderer), {}
    for source in step.sources:
        if source.name in sources:
            raise InputError(f"two sources are called '{source.name}'", where=step.stage, do="give them different names")
        sources[source.name] = _source(step, source, linter, clean, folder, note)
    report = linter.report(step.stage).model_dump(mode="json")
    (folder / LINT_FILE).write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return {"holds": step.holds, "lint": report, "sources": sources}


def _source(step: StepSources, source: ChatSource, linter: Linter, clean: Decontamination, folder: Path, note: Any) -> dict[str, Any]:
    tally = _Tally()
    with (folder / f"{source.name}.jsonl").open("w", encoding="utf-8") as lines:
        for where, raw in rows_of(source, f"{step.seed}/{step.stage}", step.holds == "pairs"):
            tally.read += 1
            if tally.read % _NOTE_EVERY == 0:
                note(f"{step.stage}, {source.name}: {tally.read:,} rows read, {tally.kept:,} kept")
            row = normal_row(raw, step.holds, source, where)
            samples = samples_in(row, source, where, step.holds)
            if identical(row):
                tally.drop("identical_pair", where)
                continue
            if (found := clean.shared(samples)) is not None:
                tally.drop(found.reason, where, found.tasks)
                continue
            for sample in samples:
                linter.add(sample)
            lines.write(json.dumps(row, ensure_ascii=False) + "\n")
            tally.kept += 1
    if not tally.kept:
        lost = ", ".join(f"{count:,} {reason}" for reason, count in tally.dropped.items())
        said = f"nothing is left of {tally.read:,} rows ({lost} dropped)" if tally.read else "there is no row"
        raise InputError(said, where=f"{step.stage}, source '{source.name}'", do="give another source")
    return tally.row(source)
