"""Rewards: what they say of an answer, and what happens when one of them misbehaves."""

from __future__ import annotations

import json
import math
import os
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from contracts.errors import ConfigError
from tasks.posttraining.config import ChatSource, OverlongPenalty, ReinforcementConfig
from tasks.posttraining.rewards.code import CodeTests
from tasks.posttraining.rewards.guard import Guarded
from tasks.posttraining.rewards.judge import Judge
from tasks.posttraining.rewards.overlong import penalty, require_harmless, unchecked
from tasks.posttraining.rewards.registry import columns_of, rewards_of, truth_of
from tasks.posttraining.rewards.sampled import Sampled, Score
from tasks.posttraining.rewards.verified import ExactAnswer, Format, string_match
from tasks.posttraining.sandbox import level
from tests.tasks.posttraining.judging import JudgeServer, serving

END = 2
isolated = pytest.mark.skipif(
    not (level().network and level().processes) and os.environ.get("CI") != "true",  # there a missing protection is a failure
    reason=f"this machine gives {level()}",
)


def answered(text: str, ended: bool = True, tokens: int = 5, **row: Any) -> Sampled:
    """One sampled answer."""
    return Sampled([{"role": "user", "content": "What is 47+85?"}], text, tokens, ended, row)


def guarded(score: Score, seconds: float = 5.0) -> Guarded:
    """A guarded reward."""
    return Guarded("mine", score, frozenset({END}), seconds)


def called(reward: Guarded, count: int = 4) -> tuple[list[float], dict[str, float]]:
    """The reward as TRL calls it: its values, and what it logged."""
    logged: dict[str, float] = {}
    prompts = [[{"role": "user", "content": str(number)}] for number in range(count)]
    completions = [[{"role": "assistant", "content": "The answer is 1."}] for _ in range(count)]
    values = reward(
        prompts=prompts, completions=completions, completion_ids=[[1, END]] * count, log_metric=logged.__setitem__,
        answer=["1"] * count, trainer_state=object(),
    )  # fmt: skip
    return values, logged


def step(**fields: Any) -> ReinforcementConfig:
    """A reinforcement step."""
    return ReinforcementConfig(prompts=[ChatSource(name="sums", uri="generated:add")], **fields)


def constant(values: Sequence[Any]) -> Score:
    """A reward that always returns these."""
    return lambda answers: list(values)


def test_a_sound_reward_passes_through() -> None:
    """Values, and a share of faults that is zero."""
    assert called(guarded(ExactAnswer("no_think"))) == ([1.0] * 4, {"faults/mine": 0.0})


def test_a_reward_that_raises_costs_those_answers_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """The others are judged; the fault is counted, logged and said."""

    def fragile(answers: Sequence[Sampled]) -> list[float]:
        if any(one.prompt[0]["content"] == "2" for one in answers):
            raise RuntimeError("verifier crashed")
        return [1.0] * len(answers)

    reward = guarded(fragile)
    assert called(reward) == ([1.0, 1.0, 0.0, 1.0], {"faults/mine": 0.25, "faults/mine/raised": 1.0})
    assert reward.faults == {"raised": 1}
    assert "reward 'mine': raised: verifier crashed" in capsys.readouterr().err


def test_a_reward_that_ends_the_process_does_not() -> None:
    """SystemExit is no Exception; it is caught all the same."""

    def leaving(answers: Sequence[Sampled]) -> list[float]:
        raise SystemExit(3)

    assert called(guarded(leaving))[0] == [0.0] * 4


def test_a_reward_that_loops_is_stopped() -> None:
    """The limit holds, and the loop does not go on to eat a core."""
    turns = [0]

    def looping(answers: Sequence[Sampled]) -> list[float]:
        while True:
            turns[0] += 1

    began = time.monotonic()
    reward = guarded(looping, seconds=0.3)
    assert called(reward)[0] == [0.0] * 4
    assert time.monotonic() - began < 5
    assert reward.faults == {"late": 4}
    assert turns[0] and _still(turns)


def test_a_reward_that_is_stopped_leaves_no_lock_taken() -> None:
    """One that logs all the time, say: the trainer waits for the same lock at its next line."""
    lock = threading.Condition()

    def talking(answers: Sequence[Sampled]) -> list[float]:
        while True:
            with lock:
                lock.notify_all()

    for _ in range(5):
        assert called(guarded(talking, seconds=0.05))[0] == [0.0] * 4
        assert lock.acquire(timeout=10)
        lock.release()


def test_a_reward_that_sleeps_is_left_behind_and_what_it_gave_is_kept() -> None:
    """Answers judged in time keep their value."""

    def slow(answers: Sequence[Sampled]) -> Iterator[float]:
        yield 1.0
        yield 0.5
        time.sleep(60)
        yield 1.0

    assert called(guarded(slow, seconds=0.3)) == ([1.0, 0.5, 0.0, 0.0], {"faults/mine": 0.5, "faults/mine/late": 2.0})


@pytest.mark.parametrize("count", [0, 3, 5])
def test_a_wrong_count_counts_as_nothing(count: int) -> None:
    """Nobody knows which answer a value belongs to."""
    values, logged = called(guarded(constant([1.0] * count)))
    assert values == [0.0] * 4
    assert logged["faults/mine"] == 1.0


def test_a_reward_without_end_is_a_wrong_count() -> None:
    """A generator that never stops does not fill the memory."""

    def endless(answers: Sequence[Sampled]) -> Iterator[float]:
        while True:
            yield 1.0

    reward = guarded(endless)
    assert called(reward)[0] == [0.0] * 4
    assert reward.faults == {"miscounted": 4}


@pytest.mark.parametrize(
    ("value", "expected", "fault"),
    [
        (None, 0.0, "missing"),
        (math.nan, 0.0, "not_finite"),
        (math.inf, 0.0, "not_finite"),
        (-math.inf, 0.0, "not_finite"),
        ("high", 0.0, "not_finite"),
        ([1.0], 0.0, "not_finite"),
        (7.0, 1.0, "clamped"),
        (-7.0, -1.0, "clamped"),
    ],
)
def test_values_that_are_no_reward_are_counted(value: Any, expected: float, fault: str) -> None:
    """One bad value costs its answer; the others keep theirs."""
    reward = guarded(constant([1.0, value, 0.5, -0.5]))
    values, logged = called(reward)
    assert values == [1.0, expected, 0.5, -0.5]
    assert reward.faults == {fault: 1}
    assert logged[f"faults/mine/{fault}"] == 1.0
    assert logged["faults/mine"] == (0.0 if fault == "clamped" else 0.25)


def test_what_goes_on_being_wrong_is_said_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    """The first, second, fourth... time: 100 faults are 7 lines."""
    reward = guarded(constant([math.nan] * 100))
    called(reward, 100)
    assert len(capsys.readouterr().err.splitlines()) == 7


def test_exact_answer_and_format_are_two_components() -> None:
    """Right without form, and form without being right."""
    answers = [
        answered("The answer is 132.", answer="132"),
        answered("<think>\n1\n</think>\nThe answer is 5.", answer="132"),
        answered("132"),
    ]
    assert list(ExactAnswer("think")(answers)) == [1.0, 0.0, None]
    assert list(Format("think")(answers)) == [0.0, 1.0, 0.0]
    assert list(ExactAnswer("think")([answered("The answer is 132.", ended=False, answer="132")])) == [0.0]


def test_string_match_forgives_case_and_punctuation_and_nothing_else() -> None:
    """Naming every candidate is no answer."""
    texts = ("New York", "<think>\nhm\n</think>\nnew  york!", "The answer is New York.", "New York or Rome", "York")
    assert list(string_match([answered(text, answer="New York") for text in texts])) == [1.0, 1.0, 1.0, 0.0, 0.0]


@pytest.mark.parametrize(("tokens", "expected"), [(1, 0.0), (36, 0.0), (37, -1 / 12), (42, -0.5), (48, -1.0), (49, -1.0), (1000, -1.0)])
def test_the_overlong_penalty_is_the_playbooks(tokens: int, expected: float) -> None:
    """0 up to Lmax - Lcache, (Lmax - Lcache - |y|) / Lcache up to Lmax, -1 beyond."""
    assert penalty(tokens, OverlongPenalty(maximum=48, window=12)) == pytest.approx(expected)


def test_a_penalty_that_punishes_a_correct_answer_is_refused() -> None:
    """The longest correct answer must lie below the window."""
    limits = OverlongPenalty(maximum=48, window=12)
    require_harmless(limits, longest_correct=36, longest_possible=48, where="rl")
    with pytest.raises(ConfigError, match="begins after 36 tokens, but a correct answer to these prompts has 37"):
        require_harmless(limits, longest_correct=37, longest_possible=48, where="rl")
    require_harmless(limits, longest_correct=None, longest_possible=48, where="rl")
    assert unchecked(12, 12) == ""
    assert unchecked(0, 12) == "not known: none of 12 prompts brings a correct reply"
    assert unchecked(3, 12).startswith("known of 3 of 12 prompts alone")


def test_a_penalty_that_nothing_can_reach_is_refused() -> None:
    """It would look like a guard and be none."""
    with pytest.raises(ConfigError, match="nothing is ever punished"):
        require_harmless(OverlongPenalty(maximum=48, window=12), longest_correct=20, longest_possible=36, where="rl")


def test_rewards_are_known_by_name() -> None:
    """Components in the order of the recipe, the penalty last with weight 1; a wrong name is refused with the nearest."""
    rewards, weights = rewards_of(
        step(rewards={"format": 0.2, "exact_answer": 1.0}, overlong=OverlongPenalty(maximum=48, window=12)), frozenset({END})
    )
    assert [reward.__name__ for reward in rewards] == ["format", "exact_answer", "overlong"]
    assert weights == [0.2, 1.0, 1.0]
    assert columns_of(step(rewards={"format": 0.2, "exact_answer": 1.0})) == {"answer": "exact_answer"}
    with pytest.raises(ConfigError, match="did you mean 'exact_answer'"):
        rewards_of(step(rewards={"exact_answr": 1.0}), frozenset())


def test_a_step_needs_a_reward_that_verifies() -> None:
    """Form alone says nothing about being right."""
    assert truth_of(step(rewards={"format": 0.2, "string_match": 1.0})) == "string_match"
    with pytest.raises(ConfigError, match="no reward verifies answers"):
        truth_of(step(rewards={"format": 1.0}))


@isolated
def test_code_is_judged_by_its_tests() -> None:
    """Share of tests passed; code without a block, in the reasoning or cut earns nothing; a prompt without tests has no value."""
    tests = [["3", "6"], {"input": "5", "output": "10\n"}, ["x", "boom"]]
    double = "```python\nprint(int(input()) * 2)\n```"
    answers = [
        answered(f"Here it is.\n{double}", tests=tests),
        answered("```python\nwhile True: pass\n```", tests=tests[:1]),
        answered(f"<think>\n{double}\n</think>\nNo code.", tests=tests),
        answered(double, ended=False, tests=tests),
        answered(double),
    ]
    assert list(CodeTests()(answers)) == [pytest.approx(2 / 3), 0.0, 0.0, 0.0, None]


@pytest.fixture
def server() -> Iterator[JudgeServer]:
    """A real endpoint on this machine."""
    with serving() as started:
        yield started


def test_a_judge_gives_marks_and_never_sees_the_reasoning(server: JudgeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Marks from 0 to 10 become 0 to 1; no mark is no value; the key comes from the environment."""
    monkeypatch.setenv("SMOLFLOW_JUDGE_KEY", "secret")
    judge = Judge(server.url, seconds=5.0)
    answers = [
        answered("<think>\nsecretly\n</think>\nmark 8"),
        answered("mark 10/10"),
        answered("mark eleven"),
        answered("mark 99"),
        answered(""),
    ]
    assert list(judge(answers)) == [0.8, 1.0, None, None, 0.0]
    assert judge.pin["model"] == "judge-1"
    sent = json.dumps(server.seen)
    assert "Bearer secret" in sent
    assert "secretly" not in sent
    assert "What is 47+85?" in sent


def test_a_judge_that_goes_down_is_counted_and_comes_back(server: JudgeServer, capsys: pytest.CaptureFixture[str]) -> None:
    """Its part of the reward is 0 while it is away, and a person reads why."""
    reward = Guarded("judge", Judge(server.url, seconds=2.0), frozenset({END}), seconds=5.0)
    assert reward.values([answered("mark 8")]) == [0.8]
    server.shutdown()
    server.server_close()
    assert reward.values([answered("mark 8")] * 3) == [0.0] * 3
    assert reward.faults == {"unavailable": 3}
    said = capsys.readouterr().err
    assert "the judge cannot be reached" in said
    assert "start the server" in said


def test_a_judge_needs_an_address() -> None:
    """Said before anything is trained."""
    with pytest.raises(ConfigError, match="no judge can be asked"):
        rewards_of(step(rewards={"judge": 1.0}), frozenset())


def _still(turns: list[int]) -> bool:
    """Whether what counts has stopped doing so."""
    for _ in range(50):
        before = turns[0]
        time.sleep(0.05)
        if turns[0] == before:
            return True
    return False
