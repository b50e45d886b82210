"""Rewards by name, and those of a step."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from contracts.config import nearest
from contracts.errors import ConfigError
from tasks.posttraining.config import ReinforcementConfig
from tasks.posttraining.rewards.code import CodeTests
from tasks.posttraining.rewards.guard import Guarded
from tasks.posttraining.rewards.judge import Judge
from tasks.posttraining.rewards.overlong import Overlong
from tasks.posttraining.rewards.sampled import Score
from tasks.posttraining.rewards.verified import ExactAnswer, Format, string_match

OVERLONG = "overlong"
"""Component of the penalty; its weight is 1."""
JUDGE_SHARE = 0.5
"""One request to a judge may take this share of the batch's time."""


class Reward(NamedTuple):
    """A known reward."""

    make: Callable[[ReinforcementConfig], Score]
    column: str = ""
    """Column that every prompt must bring; empty: none."""
    verifies: bool = False
    """Whether it says that an answer is right, not that it looks right."""


REWARDS = {
    "exact_answer": Reward(lambda step: ExactAnswer(step.mode), column="answer", verifies=True),
    "code_tests": Reward(lambda step: CodeTests(), column="tests", verifies=True),
    "string_match": Reward(lambda step: string_match, column="answer", verifies=True),
    "judge": Reward(lambda step: Judge(step.judge_url, JUDGE_SHARE * step.reward_seconds), verifies=True),
    "format": Reward(lambda step: Format(step.mode)),
}
"""Name -> reward; verifiers first, in the order in which one is taken as the truth of a step."""


def rewards_of(step: ReinforcementConfig, end_ids: frozenset[int]) -> tuple[list[Guarded], list[float]]:
    """The guarded rewards of a step, in the order of the recipe, and their weights; the overlong penalty last.

    Raises:
        ConfigError: an unknown reward, a judge without URL.
        ResourceError: code_tests where the machine cannot lock generated code in.
    """
    scores = {name: _known(name).make(step) for name in step.rewards}
    weights = list(step.rewards.values())
    if step.overlong is not None:
        scores[OVERLONG] = Overlong(step.overlong)
        weights.append(1.0)
    return [Guarded(name, score, end_ids, step.reward_seconds) for name, score in scores.items()], weights


def columns_of(step: ReinforcementConfig) -> dict[str, str]:
    """Columns that every prompt must bring -> the reward that asks for it.

    Raises:
        ConfigError: an unknown reward.
    """
    return {_known(name).column: name for name in step.rewards if _known(name).column}


def truth_of(step: ReinforcementConfig) -> str:
    """The component that says whether an answer is right: alarms and groups without signal are judged by it, never by the sum.

    Length noise in the sum hides groups that teach nothing, and a gamed component hides behind it.

    Raises:
        ConfigError: no reward of the step verifies answers.
    """
    found = [name for name, reward in REWARDS.items() if reward.verifies and name in step.rewards]
    if not found:
        known = ", ".join(name for name, reward in REWARDS.items() if reward.verifies)
        raise ConfigError("no reward verifies answers", where=f"reinforcement-{step.name}.rewards", do=f"add one of: {known}")
    return found[0]


def _known(name: str) -> Reward:
    if name not in REWARDS:
        raise ConfigError(f"no reward '{name}'{nearest(name, list(REWARDS))}", where="rewards", do="correct the name")
    return REWARDS[name]
