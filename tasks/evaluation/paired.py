"""Comparing two evaluations on the same documents and items, and averaging one over its tasks, both from sufficient statistics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from contracts.errors import InputError
from tasks.evaluation.intervals import Ratio, bootstrap_difference
from tasks.evaluation.scores import ACCURACY, BITS, Scores

__all__ = ["Apart", "Average", "average_accuracy", "difference", "require_comparable"]


@dataclass(frozen=True)
class Apart:
    """The difference of two evaluations on one metric, first minus second."""

    value: float
    low: float | None
    """Lower end of its interval over documents or items; none where there are fewer than two."""
    high: float | None
    items: int
    """Documents or items that both were measured on."""


@dataclass(frozen=True)
class Average:
    """Mean accuracy over tasks; a missing task blocks it."""

    value: float | None
    missing: list[str]
    """Tasks without a result."""


def require_comparable(evaluations: Sequence[Scores]) -> None:
    """Refuse what was not measured with the same documents, items, prompts, window and precision.

    Raises:
        InputError: the suites differ, in name, version or content.
    """
    measured = [one for one in evaluations if one.diverged_at is None]
    for one in measured[1:]:
        if one.suite != measured[0].suite:
            raise InputError(
                f"two evaluations do not compare: one was measured with {measured[0].suite}, the other with {one.suite}"
                " (suite@version:digest of its documents, items, prompts, window and precision)",
                do="evaluate both with the same `evaluation` section, on the same curated text",
            )


def difference(one: Scores, other: Scores, metric: str, *, confidence: float, resamples: int, seed: int = 0) -> Apart:
    """`one` minus `other` on `metric`, with a paired bootstrap over the documents or items.

    Args:
        metric: bits_per_byte, bits_per_byte/SOURCE or accuracy/TASK.

    Raises:
        InputError: their suites differ, one diverged, or one has no such metric.
    """
    require_comparable([one, other])
    for scores in (one, other):
        if scores.diverged_at is not None:
            raise InputError(
                f"a model that diverged (step {scores.diverged_at}) has no {metric}", do="compare evaluations of runs that did not diverge"
            )
    groups = list(zip(_ratios(one, metric), _ratios(other, metric), strict=True))
    for (ours, _), (theirs, _) in groups:
        if len(ours) != len(theirs):
            raise InputError(f"the two evaluations have different documents for {metric}", do="evaluate both again")
    value = fmean(float(a[0].sum() / a[1].sum() - b[0].sum() / b[1].sum()) for a, b in groups)
    ends = bootstrap_difference(groups, confidence=confidence, resamples=resamples, seed=seed) or (None, None)
    return Apart(value, ends[0], ends[1], sum(len(a[0]) for a, _ in groups))


def average_accuracy(scores: Scores) -> Average:
    """Mean accuracy over the tasks of the suite, each counting once; no mean where a task is missing, since a mean over fewer tasks looks
    like a better or worse model (Smol Training Playbook, ablation framework: averages with missing cells).
    """
    missing = sorted(scores.left_out) + sorted(name for name, one in scores.answered.items() if not one.right)
    right = [fmean(one.right) for one in scores.answered.values() if one.right]
    return Average(fmean(right) if right and not missing else None, missing)


def _ratios(scores: Scores, metric: str) -> list[Ratio]:
    head, _, name = metric.partition("/")
    if head == BITS:
        wanted = [name] if name else sorted(scores.compressed)
        if wanted and all(source in scores.compressed and sum(scores.compressed[source].bytes) for source in wanted):
            found = [scores.compressed[source] for source in wanted]
            return [(np.asarray(one.bits, float), np.asarray(one.bytes, float)) for one in found]
    elif head == ACCURACY and name in scores.answered and scores.answered[name].right:
        right = scores.answered[name].right
        return [(np.asarray(right, float), np.ones(len(right)))]
    known = ", ".join(scores.values())
    raise InputError(f"an evaluation has no '{metric}'", do=f"choose one of: {known}")
