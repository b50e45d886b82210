"""From what the training, conversion and evaluation stages left (metrics.jsonl, parity.json, scores.json) to the page's view."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tasks.evaluation import derive, read_scores
from tasks.reporting.view import Accuracy, BitsPerByte, Check, Interval, PhaseCurve, Points, Sample

SCORES = "scores.json"
LOSS = ("loss", "train/loss", "lm_loss")
RATE = ("learning_rate", "lr")
NORM = ("grad_norm",)
SPEED = ("tokens_per_second", "tokens/s")
HELD_OUT = ("eval_loss", "evaluation_loss", "heldout_loss")


def read_metrics(path: Path) -> list[tuple[int, dict[str, float]]]:
    """(step, {name: value}) of each line of a metric spool, in order of steps; a step written twice (after a resume) counts once, the last
    time. A line cut off by a kill is left out.
    """
    steps: dict[int, dict[str, float]] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            step, _, values = json.loads(line)
        except ValueError:
            continue
        steps.setdefault(int(step), {}).update({str(name): float(value) for name, value in values.items()})
    return sorted(steps.items())


def phase_curve(phase: Mapping[str, Any], folder: Path | None, manifest: Mapping[str, Any], start: float) -> PhaseCurve:
    """The curves of one phase; `start`: tokens seen before it."""
    batch = int(phase["global_batch_size"]) * int(phase["sequence_length"])
    steps = math.ceil(int(phase["tokens"]) / batch)
    metrics = read_metrics(folder / "metrics.jsonl") if folder else []
    points = _Points(metrics, start, batch)
    evidence = manifest.get("evidence", {})
    return PhaseCurve(
        name=str(phase["name"]),
        start_tokens=start,
        end_tokens=start + steps * batch,
        loss=points.of(LOSS),
        eval_loss={name: points.of([key]) for key, name in _held_out(values for _, values in metrics).items()},
        learning_rate=points.of(RATE),
        grad_norm=points.of(NORM),
        throughput=points.of(SPEED),
        mixture={str(name): float(share) for name, share in phase["mixture"].items()},
        epochs={str(name): float(times) for name, times in evidence.get("epochs", {}).items()},
        seconds={str(name): float(spent) for name, spent in evidence.get("ledger", {}).get("seconds", {}).items()},
        layouts=[describe_layout(layout) for layout in manifest.get("layouts", [])],
        interventions=[str(text) for text in manifest.get("interventions", [])],
    )


def steps_curve(path: Path) -> PhaseCurve:
    """Loss and held-out loss of one phase over its steps, from its metrics.jsonl."""
    metrics = read_metrics(path)
    points = _Points(metrics, 0, 1)
    held_out = _held_out(values for _, values in metrics)
    return PhaseCurve(name="", loss=points.of(LOSS), eval_loss={name: points.of([key]) for key, name in held_out.items()})


def describe_layout(leg: Mapping[str, Any]) -> str:
    """One attempt as a manifest records it, in words: `TP2 DP4 mbs 2, steps 1-70 on cpu`; sizes of 1 are left out."""
    layout = leg.get("layout", leg)
    names = [
        ("TP", "tensor_parallel_size"),
        ("PP", "pipeline_parallel_size"),
        ("CP", "context_parallel_size"),
        ("DP", "data_parallel_size"),
    ]
    words = [f"{short}{layout[key]}" for short, key in names if int(layout.get(key) or 1) > 1] or ["1 process"]
    words += [f"mbs {layout['micro_batch_size']}"] if "micro_batch_size" in layout else []
    steps = f", steps {leg['first_step']}-{leg['last_step']} on {leg.get('device', '?')}" if "first_step" in leg else ""
    return " ".join(words) + steps


def parity_checks(folder: Path | None) -> list[Check]:
    """The conversion gate's comparisons from parity.json; empty where there is none."""
    found = _json(folder, "parity.json") or {}
    return [Check(name=str(c["name"]), value=_value(c), bound=_bound(c), passed=bool(c["passed"])) for c in found.get("checks", [])]


class Measured:
    """The tables of an evaluation, derived from its sufficient statistics (scores.json)."""

    def __init__(self, folder: Path | None) -> None:
        """A folder without statistics gives empty tables."""
        self._scores = read_scores(folder) if folder and (folder / SCORES).is_file() else None
        how = self._scores.settings if self._scores else {}
        confidence, resamples = float(how.get("confidence", 0.95)), int(how.get("resamples", 1000))
        self._tables = derive(self._scores, confidence=confidence, resamples=resamples) if self._scores else None

    def bits_per_byte(self) -> list[BitsPerByte]:
        """Compression of every held-out source."""
        return [
            BitsPerByte(
                source=name,
                model=Interval(value=row.model, low=row.low, high=row.high),
                bigram=Interval(value=row.bigram),
                difference=Interval(value=row.difference, low=row.difference_low, high=row.difference_high),
                documents=row.documents,
            )
            for name, row in (self._tables.bits_per_byte if self._tables else {}).items()
        ]

    def accuracies(self) -> list[Accuracy]:
        """Accuracy of every task."""
        return [
            Accuracy(
                task=name.replace("_", " ") + (f" (avg@{row.samples})" if row.samples > 1 else ""),
                score=Interval(value=row.value, low=row.low, high=row.high),
                chance=row.chance,
                questions=row.items,
                dropped=row.dropped,
            )
            for name, row in (self._tables.tasks if self._tables else {}).items()
        ]

    def remarks(self) -> list[str]:
        """What was not measured, one sentence each, with the reason."""
        if self._scores is None:
            return []
        found = [f"The task '{task}' was left out: {why}." for task, why in self._scores.left_out.items()]
        if self._scores.diverged_at is not None:
            found.append(f"Training diverged at step {self._scores.diverged_at}: nothing was measured.")
        advised, because = (self._scores.settings.get(key) for key in ("recommended_formulation", "recommended_because"))
        others = [name for name, one in self._scores.answered.items() if advised and one.formulation not in ("generation", advised)]
        if others:
            found.append(f"{', '.join(others)}: put otherwise than recommended, which is {advised} ({because}).")
        return found


def samples(folder: Path | None, settings: Mapping[str, Any]) -> list[Sample]:
    """Generated text from samples.json, with how it was sampled."""
    how = f"temperature {settings['temperature']:g}, top-p {settings['top_p']:g}" if "temperature" in settings else ""
    rows = _json(folder, "samples.json") or []
    return [
        Sample(prompt=str(r["prompt"]), text=str(r["completion"]), note=f"held-out {r['source']}" + (f", {how}" if how else ""))
        for r in rows
    ]


class _Points:
    """Metrics as (tokens seen, value) of the first of some names."""

    def __init__(self, metrics: list[tuple[int, dict[str, float]]], start: float, batch: int) -> None:
        self._metrics, self._start, self._batch = metrics, start, batch

    def of(self, names: Iterable[str]) -> Points:
        names = list(names)
        found: Points = []
        for step, values in self._metrics:
            value = next((values[name] for name in names if name in values), None)
            if value is not None and math.isfinite(value):
                found.append((self._start + step * self._batch, value))
        return found


def _held_out(all_values: Iterable[Mapping[str, float]]) -> dict[str, str]:
    """Names of held-out losses -> source ('' for the one over all sources)."""
    found: dict[str, str] = {}
    for values in all_values:
        for name in values:
            head, _, source = name.replace(".", "/").partition("/")
            if head in HELD_OUT:
                found[name] = source
    return found


def _bound(check: Mapping[str, Any]) -> str:
    return "" if check.get("bound") is None else f"{check.get('rule', 'at most')} {check['bound']:.6g}"


def _value(check: Mapping[str, Any]) -> str:
    detail = str(check.get("detail") or "")
    if check.get("value") is None:
        return detail or ("equal" if check["passed"] else "differs")
    number = f"{check['value']:.6g}"
    return f"{number} ({detail})" if detail else number


def _json(folder: Path | None, name: str) -> Any:
    path = folder / name if folder else None
    return json.loads(path.read_text(encoding="utf-8")) if path and path.is_file() else None
