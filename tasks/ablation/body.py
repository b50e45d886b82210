"""The body of the stage `court-NAME`: reads every run, judges every arm, decides every modification, and writes the case down."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from contracts.yaml_text import dump_yaml
from infra.job import Progress, Summary
from models.count import parameters
from tasks.ablation.benefits import Gains, gains
from tasks.ablation.comparable import check_metric, check_schedules, check_suites, without_blocked_means, without_foreign_losses
from tasks.ablation.decide import Decided, decide
from tasks.ablation.drift import drift
from tasks.ablation.fields import apply
from tasks.ablation.request import Hearing, JudgeRequest, StepJudgeRequest
from tasks.ablation.response import responses
from tasks.ablation.results import BASELINE, CourtResult, Effect, Response, Run
from tasks.ablation.runs import Evidence, read_runs
from tasks.ablation.sentences import size
from tasks.ablation.step_runs import at_an_end, check_questions, fewer_pairs, read_step_runs, step_size
from tasks.ablation.verdict import Terms, effects
from tasks.evaluation import ACCURACY, lower_is_better

__all__ = ["DECISIONS", "RESULT", "judge"]

RESULT, DECISIONS, RESOLVED = "court.json", "decisions.json", "resolved.yaml"
OTHER_TOLERANCE = 0.02
"""Smallest difference that matters on a metric of another unit than the court's: 2 points of accuracy, or 0.02 bits per byte; published
ablations do not resolve less (Smol Training Playbook, ablation framework)."""
_READ, _JUDGED, _DONE = 40.0, 90.0, 100.0


@dataclass(frozen=True)
class Reading:
    """What the runs of a court left, read and found comparable."""

    runs: list[Run]
    """Every run, the missing ones too."""
    read: Sequence[Evidence]
    """Those that were read."""
    gains: Mapping[str, Gains]
    """Arm -> what else it brings."""
    holds_for: str
    """Size and budget that the verdicts hold for, in words."""
    tokens: int
    """Tokens of every run."""
    backends: Mapping[str, str]
    """`ARM.SEED` -> what measured it."""
    remarks: list[str]
    """What a reader must know of them."""
    responses: Mapping[str, Response] = field(default_factory=dict)
    """Modification that sweeps the share of a source -> how the metric responds."""


def judge(config: JudgeRequest | StepJudgeRequest, inputs: Mapping[str, Path], out: Path, progress: Progress) -> Summary:
    """Judge a court whose runs are there.

    Args:
        inputs: see JudgeRequest and StepJudgeRequest.
        out: gets court.json (CourtResult), decisions.json (a list of Decision, negative ones included) and resolved.yaml, the recipe
            with what was accepted.

    Raises:
        ConfigError: the metric is on no evaluation, or `left_out` names a run that the court does not have.
        InputError: a run is missing, cannot be read, or cannot be compared with the others.
    """
    progress(0, _DONE, f"reading {len(config.arms) * len(config.court.seeds)} runs")
    reading = _phase_runs(config, inputs) if isinstance(config, JudgeRequest) else _step_runs(config, inputs)
    check_metric(config.court.metric, reading.read)
    progress(_READ, _DONE, "judging")
    table = _effects(config, reading.runs)
    on_metric = {row.arm: row for row in table if row.metric == config.court.metric}
    decided = decide(config, on_metric, reading.gains, reading.holds_for)
    progress(_JUDGED, _DONE, "writing the case")
    result = _result(config, reading, table, decided)
    (out / RESULT).write_text(json.dumps(result.model_dump(mode="json"), indent=1, ensure_ascii=False, allow_nan=False))
    if config.recipe:
        (out / RESOLVED).write_text(dump_yaml(apply(config.recipe, decided.changes)))
    rows = [one.model_dump(mode="json") for one in result.decisions]
    (out / DECISIONS).write_text(json.dumps(rows, indent=1, ensure_ascii=False, allow_nan=False))
    progress(_DONE, _DONE, "; ".join(f"{one.modification.name}: {one.outcome}" for one in result.decisions))
    runs, count = result.runs, len(reading.read)
    return Summary(
        counts={"arms": len(result.arms), "runs": count, "left_out": len(runs) - count, "tokens": sum(run.tokens for run in runs)},
        metrics={f"effect/{arm}": row.value for arm, row in on_metric.items() if row.value is not None},
        evidence={
            "accepted": result.accepted,
            "diff": result.diff,
            "decisions": rows,
            "verdicts": {one.modification.name: one.outcome for one in result.decisions},
            "sentences": [one.sentence for one in result.decisions],
            "remarks": result.remarks,
        },
    )


def _phase_runs(config: JudgeRequest, inputs: Mapping[str, Path]) -> Reading:
    runs, read = read_runs(config, inputs)
    check_suites(read)
    check_schedules(read)
    runs, remarks = without_blocked_means(read, runs)
    runs, more = without_foreign_losses(read, runs)
    return Reading(
        runs=runs,
        read=read,
        gains=gains(config.arms, read, Terms.of(config.court)),
        holds_for=size(config, parameters(config.baseline_arm.model)),
        tokens=config.court.tokens,
        backends={one.name: one.scores.backend for one in read},
        remarks=[*remarks, *more],
        responses=responses(config, runs),
    )


def _step_runs(config: StepJudgeRequest, inputs: Mapping[str, Path]) -> Reading:
    runs, read = read_step_runs(config, inputs)
    check_questions(read)
    same_model = Gains({}, {}, config.parameters, 0.0, 0.0)
    return Reading(
        runs=runs,
        read=read,
        gains={arm.name: same_model for arm in config.arms},
        holds_for=config.size or step_size(config, read),
        tokens=max((one.run.tokens for one in read if one.arm.name == BASELINE), default=0),
        backends={one.name: one.device for one in read},
        remarks=[*fewer_pairs(read), *at_an_end(config.court.metric, read)],
    )


def _effects(config: Hearing, runs: Sequence[Run]) -> list[Effect]:
    """Every arm on every metric: what decides at the court's own confidence, the others at one that holds for all of them together."""
    known = list(dict.fromkeys([config.court.metric, *sorted({name for run in runs for name in run.metrics})]))
    tolerance = {one.name: one.tolerance for one in config.tested}
    diverged: dict[str, int] = {}
    for run in runs:
        diverged[run.arm] = diverged.get(run.arm, 0) + (run.diverged_at is not None)
    rows = []
    for metric in known:
        decides = metric == config.court.metric
        terms = Terms.of(config.court, 1 if decides else len(known) - 1)
        values: dict[str, dict[int, float]] = {arm.name: {} for arm in config.arms}
        for run in runs:
            if metric in run.metrics:
                values[run.arm][run.seed] = run.metrics[metric]
        same_unit = metric.startswith(ACCURACY) == config.court.metric.startswith(ACCURACY)
        tolerances = {arm.name: tolerance[arm.modification] if same_unit else OTHER_TOLERANCE for arm in config.arms[1:]}
        rows += effects(values, metric, lower_is_better(metric), tolerances, terms, diverged)
    return rows


def _remarks(config: Hearing, runs: Sequence[Run]) -> list[str]:
    found = []
    if len(config.court.seeds) == 1:
        found.append("One seed only: nothing is known about the noise, so every verdict is under-powered and the baseline is kept.")
    found += [f"{run.arm}.{run.seed} diverged at step {run.diverged_at:,}." for run in runs if run.diverged_at is not None]
    found += [f"{run.arm}.{run.seed} was left out: {run.left_out}." for run in runs if run.left_out]
    if not any(run.metrics for run in runs if run.arm == BASELINE):
        found.append("No run of the baseline counts: nothing can be compared.")
    elif any(run.diverged_at is not None for run in runs if run.arm == BASELINE):
        found.append("A run of the baseline itself diverged: its other runs stand for it, and flatter it.")
    if config.court.metric not in config.votes:
        found.append(f"{config.court.metric} has no vote: every modification stays as it was.")
    return found


def _result(config: Hearing, reading: Reading, table: list[Effect], decided: Decided) -> CourtResult:
    court, runs = config.court, reading.runs
    changes = {arm.name: dict(arm.point) for arm in config.arms[1:]}
    others = {name for run in runs for name in run.metrics} - set(config.votes) - set(config.reported)
    read_roles = {role for one in reading.read for role in (one.name, f"{one.name}.train")}
    manifests = {role: manifest for role, manifest in config.manifests.items() if role in read_roles}
    unvoted = "a measurement beside the one that decides" if isinstance(config, StepJudgeRequest) else "it was not qualified"
    return CourtResult(
        name=court.name,
        before=config.before,
        metric=court.metric,
        votes={**config.votes, **config.reported, **dict.fromkeys(sorted(others), f"reported: {unvoted}")},
        tokens=reading.tokens,
        seeds=court.seeds,
        confidence=court.confidence,
        power=court.power,
        pairing=court.pairing,
        size=reading.holds_for,
        baseline=config.baseline,
        arms=[arm.name for arm in config.arms],
        sweeps={one.name: one.sweep for one in config.tested if one.sweep},
        points=changes,
        runs=runs,
        effects=table,
        decisions=decided.decisions,
        accepted=decided.overrides,
        diff=[f"{path}: {json.dumps(config.baseline.get(path))} -> {json.dumps(value)}" for path, value in decided.changes.items()],
        drift=drift(manifests, reading.backends),
        responses=dict(reading.responses),
        remarks=[*_remarks(config, runs), *reading.remarks, *decided.remarks],
    )
