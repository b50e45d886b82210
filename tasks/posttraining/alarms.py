"""Signs that a policy games its reward or falls apart: pure functions over the logged history of a reinforcement step.

Naive GRPO bought SmolLM3's reward with length (0.35 -> 0.78 while answers grew from 991 to 7,549 tokens and "Wait" multiplied); the sum
of the rewards looked fine all the while (Smol Training Playbook, RLVR).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import fmean, variance
from typing import Any, NamedTuple

from tasks.posttraining.config import Alarms

DEAD, REFLECTIVE, PUNISHED = "dead_groups", "reflective", "overlong/punished_correct"
"""Names of figures that the trainer adds to TRL's: share of groups in which all answers are equally right, by the verifier alone; share of
answers with a reflective phrase; share of correct answers that the overlong penalty touches."""
MAX_DEAD = 0.9
"""Share of groups without signal at which most of the work is for nothing."""
MAX_REFLECTIVE, REFLECTIVE_GROWTH = 0.1, 3.0
"""Share of reflective answers, and its growth, that are reported together: a base that reflects is no alarm."""
MAX_PUNISHED = 0.02
"""Share of correct answers that may be touched by the overlong penalty; outliers are, whole lengths must not be."""
MAX_FAULTS = 0.5
"""Share of answers without a value from one reward at which that reward is out of order."""
MIN_GAIN = 0.05
"""Smallest gain of the reward that is held against the held-out prompts."""
SIGMAS = 3.0
"""Standard errors beyond which a gain is none of noise; alarms are asked at every step, so 2 would cry every few dozen steps."""


@dataclass(frozen=True)
class Reading:
    """What one step logged."""

    step: int
    reward: float
    """Weighted sum, mean over the answers."""
    length: float
    """Mean tokens of an answer."""
    truncated: float
    """Share of answers that were cut."""
    dead: float = 0.0
    reflective: float = 0.0
    punished: float = 0.0
    faults: Mapping[str, float] | None = None
    """Share of answers without a value, by reward."""


class Heldout(NamedTuple):
    """Accuracy on prompts that are never trained on, at one step."""

    step: int
    accuracy: float
    prompts: int


class Alarm(NamedTuple):
    """One sign, and what a person can do about it."""

    name: str
    step: int
    what: str
    do: str
    stops: bool = False
    """Whether training ends here."""


def readings(history: Iterable[Mapping[str, Any]]) -> list[Reading]:
    """The steps of TRL's log history, in order."""
    return [
        Reading(
            step=int(line["step"]), reward=_number(line["reward"]), length=_number(line.get("completions/mean_length")),
            truncated=_number(line.get("completions/clipped_ratio")), dead=_number(line.get(DEAD)),
            reflective=_number(line.get(REFLECTIVE)), punished=_number(line.get(PUNISHED)),
            faults={name.split("/")[1]: _number(line[name]) for name in line if name.startswith("faults/") and name.count("/") == 1},
        )
        for line in history
        if line.get("reward") is not None
    ]  # fmt: skip


def heldout(history: Iterable[Mapping[str, Any]], truth: str, prompts: int) -> list[Heldout]:
    """Held-out accuracy along the way, one entry per step that measured it.

    Args:
        truth: the component that says whether an answer is right.
        prompts: held-out prompts, each answered once.
    """
    name = f"eval_rewards/{truth}/mean"
    found = {int(line["step"]): Heldout(int(line["step"]), float(line[name]), prompts) for line in history if line.get(name) is not None}
    return [found[step] for step in sorted(found)]


def alarms(read: Sequence[Reading], held: Sequence[Heldout], limits: Alarms) -> list[Alarm]:
    """Every sign at the last step of the history; none before two windows are full, which is what is compared."""
    if len(read) < 2 * limits.window:
        return []
    first, last = read[: limits.window], read[-limits.window :]
    return [
        *falling(read, limits), *length_growth(first, last, limits), *truncation(last, limits), *reflection(first, last),
        *no_signal(last), *punished(last), *out_of_order(last), *flat_heldout(first, last, held),
    ]  # fmt: skip


def along(read: Sequence[Reading], held: Sequence[Heldout], limits: Alarms) -> list[Alarm]:
    """The first occurrence of each sign along a history, as somebody who watched it would have seen them."""
    found: dict[str, Alarm] = {}
    for count in range(2 * limits.window, len(read) + 1):
        for alarm in alarms(read[:count], [one for one in held if one.step <= read[count - 1].step], limits):
            found.setdefault(alarm.name, alarm)
    return list(found.values())


def falling(read: Sequence[Reading], limits: Alarms) -> list[Alarm]:
    """The watchdog: the mean reward of the last window against the best window's. Ends training.

    A collapse does not recover by itself: at 3e-4 a tiny model's reward fell from .16 to .00 within 40 steps and stayed there.
    """
    size = limits.window
    sums = [0.0, *accumulate(one.reward for one in read)]
    means = [(sums[at] - sums[at - size]) / size for at in range(size, len(read) + 1)]
    best = max(means, default=0.0)
    if len(read) < 2 * size or best <= 0 or means[-1] >= limits.stop_below * best:
        return []
    at = read[means.index(best) + size - 1].step
    what = f"the reward fell from {best:.3f} (up to step {at}) to {means[-1]:.3f}, below {limits.stop_below:.0%} of it"
    do = "go on from the parent with a lower learning_rate (a third), and look at the overlong penalty and the components of the reward"
    return [Alarm("falling_reward", read[-1].step, what, do, stops=True)]


def length_growth(first: Sequence[Reading], last: Sequence[Reading], limits: Alarms) -> list[Alarm]:
    """Answers that grow without bound buy the reward with length."""
    before, now = fmean(one.length for one in first), fmean(one.length for one in last)
    if now <= limits.max_length_growth * max(before, 1.0):
        return []
    what = f"answers grew from {before:.0f} to {now:.0f} tokens"
    return [
        Alarm("length_growth", last[-1].step, what, "add or tighten the overlong penalty (its window behind the longest correct answer)")
    ]


def truncation(last: Sequence[Reading], limits: Alarms) -> list[Alarm]:
    """Answers that are cut teach nothing, or to say nothing."""
    share = fmean(one.truncated for one in last)
    if share <= limits.max_truncated:
        return []
    return [Alarm("truncated", last[-1].step, f"{share:.0%} of the answers are cut", "raise max_answer_tokens, or penalise length earlier")]


def reflection(first: Sequence[Reading], last: Sequence[Reading]) -> list[Alarm]:
    """The style of reasoning that length hacking brings with it."""
    before, now = fmean(one.reflective for one in first), fmean(one.reflective for one in last)
    if now <= MAX_REFLECTIVE or now <= REFLECTIVE_GROWTH * before:
        return []
    what = f"{now:.0%} of the answers reflect aloud ('Wait', 'Hmm'), {before:.0%} did at first"
    return [Alarm("reflective", last[-1].step, what, "read samples; if the thoughts lead nowhere, penalise length earlier")]


def no_signal(last: Sequence[Reading]) -> list[Alarm]:
    """Groups in which all answers are right, or all wrong, push nowhere, whatever noise the other components add."""
    share = fmean(one.dead for one in last)
    if share <= MAX_DEAD:
        return []
    what = f"{share:.0%} of the groups are all right or all wrong"
    return [
        Alarm("no_signal", last[-1].step, what, "choose prompts that the parent answers now and then, or sample more answers per prompt")
    ]


def punished(last: Sequence[Reading]) -> list[Alarm]:
    """The penalty teaches to leave out steps."""
    share = fmean(one.punished for one in last)
    if share <= MAX_PUNISHED:
        return []
    what = f"{share:.0%} of the correct answers are punished for their length"
    return [Alarm("punished_correct", last[-1].step, what, "move the window of the overlong penalty up")]


def out_of_order(last: Sequence[Reading]) -> list[Alarm]:
    """A reward that mostly fails is not what is being trained on."""
    names = sorted({name for one in last for name in one.faults or ()})
    shares = {name: fmean((one.faults or {}).get(name, 0.0) for one in last) for name in names}
    return [
        Alarm("reward_out_of_order", last[-1].step, f"reward '{name}' gave no value for {share:.0%} of the answers", "read its messages")
        for name, share in shares.items()
        if share > MAX_FAULTS
    ]


def flat_heldout(first: Sequence[Reading], last: Sequence[Reading], held: Sequence[Heldout]) -> list[Alarm]:
    """The reward rises and held-out accuracy gains less than half of it, both beyond their noise: it is learned by heart, or gamed."""
    if len(held) < 2:
        return []
    before, now = ([one.reward for one in part] for part in (first, last))
    gain, noise = fmean(now) - fmean(before), math.sqrt((variance(before) + variance(now)) / len(now))
    start, end = held[0], held[-1]
    spread = math.sqrt(sum(_variance(one) for one in (start, end)))
    if gain <= max(MIN_GAIN, SIGMAS * noise) or end.accuracy - start.accuracy + 2 * spread >= gain / 2:
        return []
    rose, went = f"from {fmean(before):.3f} to {fmean(now):.3f}", f"from {start.accuracy:.3f} to {end.accuracy:.3f}"
    what = f"the reward rose {rose}, accuracy on held-out prompts went {went}"
    return [Alarm("heldout_flat", last[-1].step, what, "read the best rewarded answers: they game a component, or repeat known prompts")]


def _variance(one: Heldout) -> float:
    """Of an accuracy, with one right and one wrong answer added: none of 16 right is no certainty."""
    share = (one.accuracy * one.prompts + 1) / (one.prompts + 2)
    return share * (1 - share) / (one.prompts + 2)


def _number(value: Any) -> float:
    return float(value) if value is not None and math.isfinite(float(value)) else 0.0
