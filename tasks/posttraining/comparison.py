"""Two measurements of the same held-out items: what was gained, what was lost, and what stops the line.

A gate looks at generated held-out answers alone. What a trainer reports about its pairs says nothing about them: with `apo_zero` pair
accuracy rose to 0.72 and the margin to 0.16 while the accuracy of the skill fell from 0.81 to 0.39, at a million parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from tasks.evaluation import bootstrap_difference
from tasks.posttraining.skill_scores import DECODINGS, Decoding, HeldoutText, SkillScores, require_same_questions

Verdict = Literal["gain", "no gain outside its interval", "loss"]
POOLED = "all"
BITS = "bits per byte/"
RESAMPLES = 2000


class Change(NamedTuple):
    """One figure before and after a stage, with the paired interval of its difference."""

    name: str
    """`add/think/greedy`, `all/sampled` (mean over skills and modes), a task's `TASK` or `TASK/MODE`, `all/tasks` (their mean), or
    `bits per byte/SOURCE`."""
    before: float
    after: float
    low: float | None
    """Lower end of the interval of after - before; None where there are fewer than two items."""
    high: float | None
    verdict: Verdict
    """For bits per byte a gain is a fall."""

    @property
    def difference(self) -> float:
        """After - before."""
        return self.after - self.before


def compare(before: SkillScores, after: SkillScores, confidence: float = 0.95) -> list[Change]:
    """Every figure of two models: pooled over skills and modes first, then cell by cell, tasks, and bits per byte where both have it.

    Intervals are a paired bootstrap over the items: what is difficult for both cancels.

    Raises:
        InputError: they were asked other questions.
    """
    require_same_questions([before, after])
    found = [_accuracy(f"{POOLED}/{decoding}", _right(before, decoding), _right(after, decoding), confidence) for decoding in DECODINGS]
    cells = zip(before.cells, after.cells, strict=True)
    found += [_accuracy(one.name, [one.correct], [other.correct], confidence) for one, other in cells]
    tasks = [(name, one.right, after.tasks[name].right) for name, one in before.tasks.items()]
    found += [_accuracy(f"{POOLED}/tasks", [one for _, one, _ in tasks], [other for _, _, other in tasks], confidence)] if tasks else []
    found += [_accuracy(name, [one], [other], confidence) for name, one, other in tasks]
    return found + [
        _bits(name, before.text[name], after.text[name], confidence)
        for name in before.text
        if name in after.text and before.text[name].bytes == after.text[name].bytes
    ]


def regression_problems(
    before: SkillScores,
    after: SkillScores,
    max_regression: float,
    max_cell_regression: float = 1.0,
    max_bits_regression: float | None = None,
    confidence: float = 0.95,
) -> list[str]:
    """The gate after a training stage: empty, or a sentence for each way of answering in which too much was lost.

    Refused is a mean accuracy over skills and modes, greedy or sampled, that fell by more than `max_regression` and whose interval lies
    below 0: a fall within the noise of the items stops nobody. A tolerance of 1 lets a specialist forget the rest. Tasks are held to the
    same one by one: the fall of SmolLM3's long-context recall was hidden by everything else (Smol Training Playbook, model merging).

    A mean hides a skill or a mode that collapses while another rises. So a single cell is refused where its whole interval lies beyond
    `max_cell_regression`, or beyond `max_regression` if that is larger; and a source's bits per byte where the whole interval of their rise
    lies beyond `max_bits_regression`, if that is set. The whole interval, since of eight cells one falls
    by chance.
    """
    changes, problems = compare(before, after, confidence), []
    for decoding in DECODINGS:
        mean = next(one for one in changes if one.name == f"{POOLED}/{decoding}")
        if mean.verdict != "loss" or -mean.difference <= max_regression:
            continue
        cells = [one for one in changes if one.name.endswith(f"/{decoding}") and one is not mean]
        worst = min(cells, key=lambda one: one.difference)
        problems.append(
            f"held-out accuracy ({decoding}) fell from {mean.before:.3f} to {mean.after:.3f}, by more than {max_regression:.3f} (most in"
            f" {worst.name}: {worst.before:.3f} to {worst.after:.3f}); lower the learning rate, or start from an earlier checkpoint"
        )
    lost = [one for one in changes if one.name in before.tasks and one.verdict == "loss" and -one.difference > max_regression]
    problems += [
        f"{one.name} fell from {one.before:.3f} to {one.after:.3f}, by more than {max_regression:.3f}; keep data for it in the step, or"
        " merge with a model that has it"
        for one in lost
    ]
    problems += _lost_cells(before, changes, max(max_cell_regression, max_regression))
    return problems if max_bits_regression is None else problems + _lost_text(changes, max_bits_regression)


def form_problems(scores: SkillScores, minimum: float) -> list[str]:
    """The gate of a released model: empty, or a sentence for each mode whose greedy answers are in form in less than this share."""
    problems = []
    for mode in dict.fromkeys(cell.mode for cell in scores.cells):
        cells = [cell for cell in scores.cells if cell.mode == mode and cell.decoding == "greedy"]
        formed, items = sum(sum(cell.formatted) for cell in cells), sum(cell.items for cell in cells)
        if formed >= minimum * items:
            continue
        worst = min(cells, key=lambda cell: cell.format)
        problems.append(
            f"{formed} of {items} greedy answers in mode {mode} are in form ({formed / items:.3f}), at least {minimum:.3f} must be"
            f" (fewest in {worst.name}: {worst.format:.3f})"
        )
    return problems


def _lost_cells(before: SkillScores, changes: Sequence[Change], tolerance: float) -> list[str]:
    """Cells of generated skills whose change lies below -tolerance with its whole interval."""
    cells = {cell.name for cell in before.cells}
    return [
        f"{one.name} alone fell from {one.before:.3f} to {one.after:.3f} [{one.low:+.3f}, {one.high:+.3f}], wholly beyond {tolerance:.3f};"
        " keep data for it in the step"
        for one in changes
        if one.name in cells and one.high is not None and one.high < -tolerance
    ]


def _lost_text(changes: Sequence[Change], tolerance: float) -> list[str]:
    """Sources whose bits per byte rose by more than the tolerance with their whole interval; what was not measured is no evidence."""
    texts = [one for one in changes if one.name.startswith(BITS)]
    if not texts:
        return ["bits per byte are held to a bound, and the two measurements share no held-out text"]
    return [
        f"{one.name} rose from {one.before:.3f} to {one.after:.3f} [{one.low:+.3f}, {one.high:+.3f}], wholly beyond {tolerance:.3f};"
        " lower the learning rate, or mix text into the step"
        for one in texts
        if one.low is not None and one.low > tolerance
    ]


def _right(scores: SkillScores, decoding: Decoding) -> list[Sequence[float]]:
    return [cell.correct for cell in scores.cells if cell.decoding == decoding]


def _accuracy(name: str, before: Sequence[Sequence[float]], after: Sequence[Sequence[float]], confidence: float) -> Change:
    groups = [
        ((np.array(new, float), np.ones(len(new))), (np.array(old, float), np.ones(len(old))))
        for old, new in zip(before, after, strict=True)
    ]
    interval = bootstrap_difference(groups, confidence=confidence, resamples=RESAMPLES, seed=0) if groups else None
    was, now = (sum(sum(right) / max(1, len(right)) for right in side) / max(1, len(side)) for side in (before, after))
    return _change(name, was, now, interval, sign=1)


def _bits(name: str, before: HeldoutText, after: HeldoutText, confidence: float) -> Change:
    sides = [(np.array(one.bits, float), np.array(one.bytes, float)) for one in (after, before)]
    interval = bootstrap_difference([(sides[0], sides[1])], confidence=confidence, resamples=RESAMPLES, seed=0)
    was, now = (sum(one.bits) / sum(one.bytes) for one in (before, after))
    return _change(f"{BITS}{name}", was, now, interval, sign=-1)


def _change(name: str, before: float, after: float, interval: tuple[float, float] | None, sign: int) -> Change:
    low, high = interval or (None, None)
    verdict: Verdict = "no gain outside its interval"
    if low is not None and high is not None and (low > 0 or high < 0):
        verdict = "gain" if (low > 0) == (sign > 0) else "loss"
    return Change(name, before, after, low, high, verdict)
