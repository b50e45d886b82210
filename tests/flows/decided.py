"""The result of a court, as if it had accepted these modifications and rejected the others."""

from __future__ import annotations

from tasks.ablation.config import Court, StepCourt
from tasks.ablation.fields import override
from tasks.ablation.results import BASELINE, CourtResult, Decision, Effect


def accepting(case: Court | StepCourt, names: set[str]) -> CourtResult:
    """court.json of `case`."""
    taken = {path: value for one in case.modifications if one.name in names for path, value in (one.change | one.compensations).items()}
    effects = [
        Effect(
            arm=one.name, metric=case.metric, lower_is_better=True, outcome="better" if one.name in names else "worse",
            value=-0.1 if one.name in names else 0.1, low=-0.2, high=-0.05, noise=0.01, degrees_of_freedom=2,
        )
        for one in case.modifications
    ]  # fmt: skip
    decisions = [
        Decision(
            modification=one, digest=one.digest, state="accepted" if one.name in names else "rejected",
            outcome="better" if one.name in names else "worse", sentence=f"{one.name} was judged.", arm=one.name,
        )
        for one in case.modifications
    ]  # fmt: skip
    return CourtResult(
        name=case.name,
        before="stable",
        metric=case.metric,
        tokens=case.tokens if isinstance(case, Court) else 0,
        seeds=case.seeds,
        confidence=case.confidence,
        power=case.power,
        pairing=case.pairing,
        size="164 k parameters",
        baseline={},
        arms=[BASELINE, *(one.name for one in case.modifications)],
        runs=[],
        effects=effects,
        decisions=decisions,
        accepted=[override(path, value) for path, value in taken.items()],
        diff=[f"{path}: before -> {value}" for path, value in taken.items()],
    )
