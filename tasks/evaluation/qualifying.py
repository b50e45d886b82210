"""The body of the stage `qualify`: seed runs, evaluated along the way, say which metrics may vote."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from contracts.errors import InputError
from infra.job import Progress, Summary
from tasks.evaluation import scores
from tasks.evaluation.qualification import Baseline, Curves, MetricQualification, QualificationResult, Thresholds, judge
from tasks.evaluation.scores import Scores

__all__ = ["FILE", "QualifyRequest", "qualify"]

FILE = "qualification.json"


class QualifyRequest(Thresholds):
    """Body config of the stage `qualify`; its inputs' roles are `ARM.SEED.TOKENS`, each the folder of an evaluation (scores.json).

    The thresholds are part of its identity: judging anew reads a few files, and a verdict never stands beside bounds that are not its own.
    """

    arms: list[str] = Field(min_length=1)
    """The baseline first; it needs every seed. The others are models to order, with whatever seeds they have."""
    seeds: list[int] = Field(min_length=1)
    """Seeds of the baseline."""
    tokens: list[int] = Field(min_length=1)
    """Points of the curves, in tokens seen; 0 is the untrained model, a baseline and no step."""

    @property
    def thresholds(self) -> Thresholds:
        """The bounds alone."""
        return Thresholds(**{name: getattr(self, name) for name in Thresholds.model_fields})

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        for name, given in (("arms", self.arms), ("seeds", self.seeds), ("tokens", self.tokens)):
            if len(set(given)) < len(given):
                raise ValueError(f"{name} holds something twice: {', '.join(map(str, given))}")
        if any(count < 0 for count in self.tokens):
            raise ValueError("tokens must not be negative")
        return self


@dataclass(frozen=True, order=True)
class _Cell:
    """One evaluation's place: which arm, which seed, after how many tokens."""

    arm: str
    seed: int
    tokens: int

    @classmethod
    def of(cls, role: str) -> Self:
        """From `ARM.SEED.TOKENS`; an arm's name may hold dots (a point of a sweep)."""
        parts = role.rsplit(".", 2)
        if len(parts) < 3 or not parts[0] or not all(part.lstrip("-").isdigit() for part in parts[1:]):
            raise InputError(f"'{role}' is no role of an evaluation", do="name inputs ARM.SEED.TOKENS, for example baseline.0.100000")
        return cls(parts[0], int(parts[1]), int(parts[2]))

    def __str__(self) -> str:
        return f"{self.arm}.{self.seed}.{self.tokens}"


def qualify(config: QualifyRequest, inputs: Mapping[str, Path], out: Path, progress: Progress) -> Summary:
    """Judge every metric of the suite, and leave the curves for plots.

    Args:
        inputs: `ARM.SEED.TOKENS` -> folder of an evaluation.
        out: gets qualification.json.

    Raises:
        InputError: no evaluations, one that cannot be read or was not asked for, or evaluations of different suites.
    """
    cells = _read(config, inputs, progress)
    suite = _one_suite(cells)
    remarks = _remarks(config, cells)
    curves = {metric: _curves(config, cells, metric) for metric in _metrics(cells)}
    judged = {metric: _judged(config, cells, metric, own) for metric, own in curves.items()}
    found = QualificationResult(
        suite=suite,
        thresholds=config.thresholds,
        arms=config.arms,
        seeds=config.seeds,
        tokens=sorted(config.tokens),
        metrics=judged,
        curves=curves,
        remarks=remarks,
    )
    (out / FILE).write_text(json.dumps(found.model_dump(mode="json"), indent=1, ensure_ascii=False, allow_nan=False))
    passed = [metric for metric, one in judged.items() if one.passed]
    progress(1, 1, f"{len(passed)} of {len(judged)} metrics qualified" + (f": {', '.join(passed)}" if passed else ""))
    return Summary(
        counts={"evaluations": len(cells), "metrics": len(judged), "qualified": len(passed)},
        metrics={f"{name}/{metric}": value for metric, one in judged.items() for name, value in _figures(one)},
        evidence={
            "qualified": {metric: one.passed for metric, one in judged.items()},
            "why": {metric: one.said() for metric, one in judged.items()},
        },
    )


def _read(config: QualifyRequest, inputs: Mapping[str, Path], progress: Progress) -> dict[_Cell, Scores]:
    if not inputs:
        raise InputError("nothing to qualify: no evaluations are given", do="run the stage qualify, which trains and evaluates seed runs")
    found: dict[_Cell, Scores] = {}
    for number, (role, folder) in enumerate(inputs.items()):
        progress(number, len(inputs), f"reading {role}")
        cell = _Cell.of(role)
        wanted = cell.arm in config.arms and cell.tokens in config.tokens and (cell.arm != config.arms[0] or cell.seed in config.seeds)
        if not wanted:
            raise InputError(f"evaluation '{role}' was not asked for", do="give its arm, seed and tokens in the request, or leave it out")
        found[cell] = scores.read(folder)
    return dict(sorted(found.items()))


def _one_suite(cells: Mapping[_Cell, Scores]) -> str:
    """The suite of all evaluations; refuses several, for their curves would change with the ruler."""
    by_suite: dict[str, list[_Cell]] = {}
    for cell, one in cells.items():
        by_suite.setdefault(one.suite, []).append(cell)
    if len(by_suite) > 1:
        said = "; ".join(f"'{suite}': {_listed(own)}" for suite, own in sorted(by_suite.items(), key=lambda row: -len(row[1])))
        raise InputError(f"these evaluations are of {len(by_suite)} different suites: {said}", do="evaluate all of them with one suite")
    return next(iter(by_suite))


def _listed(names: Sequence[object], most: int = 4) -> str:
    return ", ".join(map(str, names[:most])) + (f" and {len(names) - most} more" if len(names) > most else "")


def _remarks(config: QualifyRequest, cells: Mapping[_Cell, Scores]) -> list[str]:
    said = [f"{cell} diverged at step {one.diverged_at}: it has no value" for cell, one in cells.items() if one.diverged_at is not None]
    said += [f"{cell} left out {task}: {why}" for cell, one in cells.items() for task, why in one.left_out.items()]
    wanted = [_Cell(config.arms[0], seed, tokens) for seed in config.seeds for tokens in sorted(config.tokens)]
    missing = [cell for cell in wanted if cell not in cells]
    if missing:
        said.append(f"no evaluation of {_listed(missing)}")
    backends = sorted({one.backend for one in cells.values()})
    if len(backends) > 1:
        said.append(f"evaluated by different backends: {', '.join(backends)}")
    return said


def _metrics(cells: Mapping[_Cell, Scores]) -> list[str]:
    """Every metric that an evaluation has, and those that it should have had: what is missing everywhere does not vanish."""
    found = {metric for one in cells.values() for metric in one.values()}
    return sorted(found | {f"{scores.ACCURACY}/{task}" for one in cells.values() for task in one.left_out})


def _curves(config: QualifyRequest, cells: Mapping[_Cell, Scores], metric: str) -> Curves:
    curves: Curves = {arm: {} for arm in config.arms}
    for cell, one in cells.items():
        value = one.values().get(metric)
        if value is not None and math.isfinite(value):
            curves[cell.arm].setdefault(cell.seed, []).append((cell.tokens, value))
    return curves


def _judged(config: QualifyRequest, cells: Mapping[_Cell, Scores], metric: str, curves: Curves) -> MetricQualification:
    task = metric.partition("/")[2]
    return judge(
        curves,
        [tokens for tokens in sorted(config.tokens) if tokens],
        lower_is_better=scores.lower_is_better(metric),
        generative=any(one.answered[task].generative for one in cells.values() if task in one.answered),
        baseline=_baseline(config, cells, metric, curves),
        thresholds=config.thresholds,
    )


def _baseline(config: QualifyRequest, cells: Mapping[_Cell, Scores], metric: str, curves: Curves) -> Baseline | None:
    """What knowing nothing scores: chance; for bits per byte the untrained model, else every token alike, else the token bigram."""
    if not scores.lower_is_better(metric):
        task = metric.partition("/")[2]
        chance = [one.answered[task].chance for one in cells.values() if task in one.answered]
        return Baseline(value=chance[0], what="chance") if chance else None
    untrained = [value for points in curves[config.arms[0]].values() for tokens, value in points if tokens == 0]
    if untrained:
        return Baseline(value=math.fsum(untrained) / len(untrained), what="the untrained model")
    for what, score in (("a guess of any token", _guessed), ("the token bigram", _bigram)):
        known = [value for value in (score(one).get(metric) for one in cells.values()) if value is not None]
        if known:
            return Baseline(value=known[0], what=what)
    return None


def _guessed(one: Scores) -> dict[str, float]:
    """The metrics of a model to which all tokens are alike: log2(vocabulary) bits a token."""
    if not one.vocab_size or any(len(source.tokens) != len(source.bits) for source in one.compressed.values()):
        return {}
    each = math.log2(one.vocab_size)
    return _with_bits(one, {name: [each * tokens for tokens in source.tokens] for name, source in one.compressed.items()})


def _bigram(one: Scores) -> dict[str, float]:
    """The metrics that the bigram scores on the same documents; an evaluation without it has none."""
    if not one.compressed or any(len(source.bigram_bits) != len(source.bits) for source in one.compressed.values()):
        return {}
    return _with_bits(one, {name: source.bigram_bits for name, source in one.compressed.items()})


def _with_bits(one: Scores, bits: Mapping[str, Sequence[float]]) -> dict[str, float]:
    swapped = {name: source.model_copy(update={"bits": list(bits[name])}) for name, source in one.compressed.items()}
    return one.model_copy(update={"compressed": swapped, "answered": {}}).values()


def _figures(one: MetricQualification) -> Iterator[tuple[str, float]]:
    for name in ("monotonicity", "signal_to_noise", "above_random", "ordering_consistency"):
        value = getattr(one, name)
        if value is not None and math.isfinite(value):
            yield name, value
