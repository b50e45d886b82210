"""What may be compared with what: one suite, one schedule phase, one tokenizer for losses, no average with a missing cell.

Smol Training Playbook, consolidated workflow, checks C03, C04, C06 and C07.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from contracts.config import nearest
from contracts.errors import ConfigError, InputError
from tasks.ablation.results import BASELINE, Run
from tasks.ablation.runs import Evidence, PhaseEvidence
from tasks.evaluation import BITS

__all__ = ["check_metric", "check_schedules", "check_suites", "without_blocked_means", "without_foreign_losses"]

FACTORS = ("schedule.shape", ".schedule")


def check_suites(read: Sequence[PhaseEvidence]) -> None:
    """All runs were measured by one version of one suite (C03); of those that diverged nothing was measured.

    Raises:
        InputError: they were not; names the runs of each.
    """
    groups = _grouped((one.scores.suite, one.name) for one in read if one.run.diverged_at is None)
    if len(groups) > 1:
        raise InputError(
            f"the runs were measured by different suites: {_listed(groups)}", do="evaluate all of them with one version of one suite"
        )


def check_schedules(read: Sequence[PhaseEvidence]) -> None:
    """All runs stand at the same point of the same schedule (C07): a stable phase looks worse than a decayed one.

    A schedule that is itself the factor may differ in shape, as long as both ends have decayed. Diverged runs are not compared at all.

    Raises:
        InputError: shapes differ that are no factor, a constant phase meets a decayed one, or a run stopped before its end.
    """
    whole = [one for one in read if one.run.diverged_at is None]
    stopped = {one.name: f"{one.progress:.0%}" for one in whole if abs(one.progress - 1.0) > 1e-6}
    if stopped and len({round(one.progress, 6) for one in whole}) > 1:
        ends = ", ".join(f"{name} at {share}" for name, share in stopped.items())
        raise InputError(f"the runs stand at different points of their schedules: {ends} of the phase", do="train them to the end")
    baseline = next((one.arm for one in read if one.arm.name == BASELINE), None)
    if baseline is None:
        return
    expected = baseline.phase.schedule.shape
    for one in whole:
        shape = one.arm.phase.schedule.shape
        is_factor = any(path.endswith(FACTORS) for path in one.arm.changes)
        if shape != expected and (not is_factor or "constant" in (shape, expected)):
            raise InputError(
                f"'{one.name}' ends in a schedule of shape {shape}, the baseline in one of shape {expected}: they do not compare",
                do="let both decay: a constant phase compares after a decay branch from its checkpoint",
            )


def check_metric(metric: str, read: Sequence[Evidence]) -> None:
    """Some run was measured on what is to decide.

    Raises:
        ConfigError: no evaluation has it; names the nearest one that they have.
    """
    known = sorted({name for one in read for name in one.run.metrics})
    if known and metric not in known:
        raise ConfigError(f"no evaluation measures '{metric}'{nearest(metric, known)}", do="choose one that the suite has")


def without_blocked_means(read: Sequence[PhaseEvidence], runs: Sequence[Run]) -> tuple[list[Run], list[str]]:
    """The runs without the mean over sources where one of the sources is missing (C04), and a remark on each."""
    sources = {source for one in read for source in one.scores.compressed}
    missing = {
        (one.run.arm, one.run.seed): sorted(sources - {name.partition("/")[2] for name in one.run.metrics if name.startswith(f"{BITS}/")})
        for one in read
        if one.run.diverged_at is None
    }
    kept, remarks = [], []
    for run in runs:
        lacking = missing.get((run.arm, run.seed))
        if lacking:
            remarks.append(f"{run.arm}.{run.seed} was not measured on {', '.join(lacking)}: it has no mean over the sources.")
            run = run.model_copy(update={"metrics": {name: value for name, value in run.metrics.items() if name != BITS}})
        kept.append(run)
    return kept, remarks


def without_foreign_losses(read: Sequence[PhaseEvidence], runs: Sequence[Run]) -> tuple[list[Run], list[str]]:
    """The runs without the loss curves of those whose tokenizer is not the baseline's (C06), and a remark on it.

    A loss is per token, so it compares within one tokenizer only; bits per byte and accuracy compare across.
    """
    own = {one.scores.tokenizer for one in read if one.arm.name == BASELINE}
    foreign = {(one.run.arm, one.run.seed) for one in read if own and one.scores.tokenizer not in own}
    if not foreign:
        return list(runs), []
    names = ", ".join(f"{arm}.{seed}" for arm, seed in sorted(foreign))
    remark = f"Another tokenizer than the baseline's: {names}. Their losses do not compare and are left out; bits per byte and accuracy do."
    return [run.model_copy(update={"loss": [], "heldout": {}}) if (run.arm, run.seed) in foreign else run for run in runs], [remark]


def _grouped(pairs: Iterable[tuple[Any, str]]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for key, name in pairs:
        groups.setdefault(str(key), []).append(name)
    return groups


def _listed(groups: Mapping[str, Sequence[str]]) -> str:
    return "; ".join(f"{key}: {', '.join(names)}" for key, names in groups.items())
