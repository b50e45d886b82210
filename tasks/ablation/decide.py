"""From verdicts to decisions: what is accepted, what is rejected, what is left as it was, and the overrides of the next baseline."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.ablation.benefits import Gains
from tasks.ablation.config import Modification
from tasks.ablation.request import Compared, Hearing
from tasks.ablation.results import Decision, Effect, State
from tasks.ablation.sentences import amount, finding, verdict_sentence

__all__ = ["Decided", "decide", "overlap"]


ABOUT_A_SET = {
    "leave_one_out": "a court that leaves one out says which change of the accepted set to withdraw; that is for a person to do",
    "target_size": "a court at the target size says which change still holds there; its model is not the recipe's",
}
"""Templates whose baseline is not the recipe itself, so that nothing of theirs can become part of it."""


@dataclass(frozen=True)
class Decided:
    """What a court says."""

    decisions: list[Decision]
    """One for each modification."""
    changes: dict[str, Any]
    """Fields of the next baseline that differ from this one's."""
    remarks: list[str]
    """What was not tested, or not taken in spite of its verdict."""

    @property
    def overrides(self) -> list[str]:
        """`changes` in the form a.b=c."""
        return [f"{path}={json.dumps(value)}" for path, value in self.changes.items()]


@dataclass(frozen=True)
class _Candidate:
    """A modification by its best arm."""

    modification: Modification
    arm: Compared
    effect: Effect
    gains: Gains
    state: State
    why: str

    @property
    def size(self) -> float:
        """Improvement of the court's metric."""
        value = self.effect.value or 0.0
        return -value if self.effect.lower_is_better else value


def decide(request: Hearing, effects: Mapping[str, Effect], gains: Mapping[str, Gains], holds_for: str) -> Decided:
    """Every modification of the case.

    quality is accepted where it is better. speed, memory and stability are accepted where that was shown and the court's metric is not
    worse by more than the tolerance (non-inferiority). Of a sweep the best point counts. A modification is taken only if all that it
    depends on is; of two that set one field the larger effect wins.

    Args:
        effects: arm -> its effect on the court's metric.
        gains: arm -> what else it brings.
        holds_for: size and budget in words.
    """
    best = [_best(request, one, effects, gains) for one in request.tested]
    taken, dropped = _settle(best, request.settled)
    template = request.court.template
    if taken and template is not None and template.kind in ABOUT_A_SET:
        dropped |= {one.modification.name: f"not taken: {ABOUT_A_SET[template.kind]}" for one in taken}
        taken = []
    decisions = [_decision(request, one, one in taken, dropped.get(one.modification.name, ""), holds_for) for one in best]
    changes = {path: value for one in taken for path, value in one.arm.changes.items()}
    remarks = [f"{name}: {why}." for name, why in dropped.items()]
    if len(taken) > 1:
        names = ", ".join(one.modification.name for one in taken)
        remarks.append(f"{names} were accepted one by one; together they were not tested (the template leave_one_out does that).")
    return Decided(decisions, changes, remarks)


def overlap(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """A field that both sets of changes touch with different values, or ''. `*` stands for every element, an index for any name."""
    for path, value in one.items():
        for another, different in other.items():
            mine, theirs = path.split("."), another.split(".")
            if all(_same(a, b) for a, b in zip(mine, theirs, strict=False)) and not (mine == theirs and value == different):
                return path
    return ""


def _same(a: str, b: str) -> bool:
    return a == b or "*" in (a, b) or a.isdigit() != b.isdigit()


def _best(request: Hearing, modification: Modification, effects: Mapping[str, Effect], gains: Mapping[str, Gains]) -> _Candidate:
    found = []
    for arm in request.arms:
        if arm.modification == modification.name:
            state, why = _standing(request, modification, effects[arm.name], gains[arm.name])
            found.append(_Candidate(modification, arm, effects[arm.name], gains[arm.name], state, why))
    return max(found, key=lambda one: (one.state == "accepted", one.effect.value is not None and not one.effect.diverged, one.size))


def _standing(request: Hearing, modification: Modification, effect: Effect, gains: Gains) -> tuple[State, str]:
    """What its own verdict makes of an arm, and why."""
    metric = request.court.metric
    if metric not in request.votes:
        return "tested", f"{metric} is only reported ({request.reported.get(metric, 'it did not qualify')}), so nothing is decided"
    if effect.diverged:
        return "rejected", "rejected"
    if modification.benefit == "quality":
        return _QUALITY[effect.outcome]
    if effect.low is None or effect.high is None:
        return "tested", "baseline kept"
    least, most = (effect.low, effect.high) if effect.lower_is_better else (-effect.high, -effect.low)
    bound = amount(metric, modification.tolerance)
    if least > modification.tolerance:
        return "rejected", f"rejected: it costs more than {bound}"
    if most > modification.tolerance:
        return "tested", f"it may cost more than {bound}, baseline kept"
    shown = gains.shown[modification.benefit]
    if shown is None:
        return "tested", f"its {modification.benefit} does not stand out from the noise, baseline kept"
    return ("accepted", f"accepted for {modification.benefit}") if shown else ("rejected", f"rejected: it brings no {modification.benefit}")


_QUALITY: dict[str, tuple[State, str]] = {
    "better": ("accepted", "accepted"),
    "worse": ("rejected", "rejected"),
    "within noise": ("rejected", "rejected: it brings no quality that matters, baseline kept"),
    "under-powered": ("tested", "baseline kept"),
}


def _settle(best: Sequence[_Candidate], settled: Mapping[str, str]) -> tuple[list[_Candidate], dict[str, str]]:
    """(those that are taken, in the court's order; modification -> why it is not taken though its verdict would let it)."""
    homeless: dict[str, str] = {}
    while True:
        kept: list[_Candidate] = []
        beaten: dict[str, str] = {}
        for one in sorted(best, key=lambda one: -one.size):
            if one.state != "accepted" or one.modification.name in homeless:
                continue
            rival = next((other for other in kept if overlap(one.arm.changes, other.arm.changes)), None)
            if rival is None:
                kept.append(one)
                continue
            field = overlap(one.arm.changes, rival.arm.changes)
            beaten[one.modification.name] = f"not taken: '{rival.modification.name}' also sets {field} and has the larger effect"
        names = {one.modification.name for one in kept} | {name for name, state in settled.items() if state == "accepted"}
        fresh = {one.modification.name: _orphaned(one, best, settled) for one in kept if set(one.modification.depends_on) - names}
        if not fresh:
            return [one for one in best if one in kept], homeless | beaten
        homeless |= fresh


def _orphaned(one: _Candidate, best: Sequence[_Candidate], settled: Mapping[str, str]) -> str:
    states: dict[str, str] = {**settled, **{other.modification.name: other.state for other in best}}
    told = ", ".join(f"'{name}' ({states.get(name, 'not tested')})" for name in one.modification.depends_on)
    return f"not taken: it depends on {told}, and not all of that is part of the baseline"


def _decision(request: Hearing, one: _Candidate, taken: bool, dropped: str, holds_for: str) -> Decision:
    modification, effect = one.modification, one.effect
    said = finding(effect, modification.tolerance, request.court.confidence)
    return Decision(
        modification=modification,
        digest=modification.digest,
        state="tested" if dropped else one.state,
        outcome=effect.outcome,
        sentence=verdict_sentence(modification, one.arm.name, said, one.gains.benefits, [dropped or one.why], holds_for),
        accepted=dict(one.arm.changes) if taken else {},
        parameters=one.gains.parameters,
        parameter_difference=one.gains.parameter_difference,
        flops_difference=one.gains.flops_difference,
        benefits=one.gains.benefits,
        arm=one.arm.name,
    )
