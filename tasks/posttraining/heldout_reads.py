"""Held-out tests are read once, at release: each read leaves a record beside the model's artifact, and a pure check looks at all of them.

What steers the line (gates, the choice among merges) is measured on the side `validation`; a score on `test` that was looked at before
the final model was chosen is a validation score (Smol Training Playbook, post-training evaluation: keep a test set untouched).
"""

from __future__ import annotations

from collections.abc import Sequence

from contracts.config import Config
from tasks.posttraining.skill_scores import SkillScores


class HeldoutRead(Config):
    """One look at a test set."""

    model: str
    """Fingerprint of the model that was measured."""
    questions: str
    """Digest of what was asked."""
    when: str
    """UTC, ISO 8601."""
    why: str
    """Stage that read it, for example `release`."""

    @classmethod
    def of(cls, scores: SkillScores, model: str, when: str, why: str) -> HeldoutRead | None:
        """The record of a measurement; None where it read no test items."""
        return cls(model=model, questions=scores.questions, when=when, why=why) if scores.side == "test" else None


def read_problems(reads: Sequence[HeldoutRead], released: str) -> list[str]:
    """What speaks against calling the released model's test scores held out; empty where nothing does.

    Args:
        reads: every record of every model of this line of work.
        released: fingerprint of the model that is released.
    """
    found = []
    others = [one for one in reads if one.model != released]
    if others:
        first = min(others, key=lambda one: one.when)
        said = f"the test items were read for {len({one.model for one in others})} other model(s), first by {first.why} on {first.when}"
        found.append(f"{said}: say so on the card, or measure the release on items of another seed")
    mine = [one for one in reads if one.model == released]
    if not mine:
        found.append("the released model was not measured on the test items; run its final evaluation")
    if len({one.questions for one in mine}) < len(mine):
        found.append(f"the test items were read {len(mine)} times for the released model; one read is held out, the best of several is not")
    return found
