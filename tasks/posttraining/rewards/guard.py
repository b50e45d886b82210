"""The guard around a reward: it may raise, hang, miscount or return nonsense; each is counted and said, none ends the training.

TRL 1.16 by itself ends on an exception and on a wrong count, waits for ever for a reward that hangs, and turns one infinity into a step
without any gradient and without a word.
"""

from __future__ import annotations

import ctypes
import math
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Literal

from tasks.posttraining.rewards.sampled import Sampled, Score, Unavailable, sampled

Fault = Literal["raised", "late", "miscounted", "missing", "not_finite", "clamped", "unavailable"]
LOWEST, HIGHEST = -1.0, 1.0
"""Range of a reward before its weight: what lies outside is clamped, so that no verifier drowns the others."""

_LOCKING = frozenset({"threading", "logging", "queue", "importlib._bootstrap"})
_PATIENCE = 0.5


class TimeIsUp(BaseException):
    """Raised inside a reward whose time is up. Not an Exception, so that no `except Exception` of a verifier swallows it."""


class Guarded:
    """A reward function as TRL takes it, that always returns one finite number per answer.

    What has no value of its own counts as 0. A reward that raises is asked again, one answer at a time: what it cannot judge costs that
    answer alone. After the time limit what it has yielded is kept and it is stopped; one that blocks in a system call cannot be stopped
    and stays behind as an idle thread.
    """

    def __init__(self, name: str, score: Score, end_ids: frozenset[int], seconds: float) -> None:
        """Guard `score`.

        Args:
            name: its component in logs, `rewards/NAME/mean` and `faults/NAME`.
            end_ids: tokens that end a turn.
            seconds: time limit of one batch.
        """
        self.__name__ = name
        self.faults: Counter[str] = Counter()
        """Answers by what went wrong with them, over the life of this object."""
        self.score = score
        self._end_ids, self._seconds = end_ids, seconds
        self._said: Counter[str] = Counter()

    def __call__(
        self,
        prompts: Sequence[Any],
        completions: Sequence[Any],
        completion_ids: Sequence[Sequence[int]],
        log_metric: Callable[[str, float], None] | None = None,
        **columns: Any,
    ) -> list[float]:
        """Rewards of a batch; logs the share of answers without a value of their own, and each fault that occurred."""
        answers, before = sampled(prompts, completions, completion_ids, columns, self._end_ids), self.faults.copy()
        values = self.values(answers)
        if log_metric is not None:
            found = self.faults - before
            log_metric(f"faults/{self.__name__}", (found.total() - found["clamped"]) / max(1, len(answers)))
            for fault, count in found.items():
                log_metric(f"faults/{self.__name__}/{fault}", float(count))
        return values

    def values(self, answers: Sequence[Sampled]) -> list[float]:
        """One finite number in [-1, 1] per answer."""
        deadline = time.monotonic() + self._seconds
        found, error = _collect(self.score, answers, self._seconds)
        if error is None and len(found) != len(answers):
            self._count("miscounted", len(answers), f"{len(found)} values for {len(answers)} answers")
            return [0.0] * len(answers)
        values = [self._checked(value) for value in found[: len(answers)]]
        left = answers[len(values) :]
        if isinstance(error, TimeIsUp | Unavailable):
            self._count("late" if isinstance(error, TimeIsUp) else "unavailable", len(left), _words(error) or f"after {self._seconds:g} s")
            return values + [0.0] * len(left)
        return values + [self._alone(answer, deadline - time.monotonic()) for answer in left]

    def _alone(self, answer: Sampled, seconds: float) -> float:
        """The value of one answer of a batch that raised."""
        found, error = _collect(self.score, [answer], max(0.0, seconds))
        if error is None and len(found) == 1:
            return self._checked(found[0])
        fault: Fault = "late" if isinstance(error, TimeIsUp) else "miscounted" if error is None else "raised"
        self._count(fault, 1, _words(error))
        return 0.0

    def _checked(self, value: Any) -> float:
        if value is None:
            self._count("missing", 1, "no value")
            return 0.0
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not math.isfinite(number):
            self._count("not_finite", 1, f"the value {str(value)[:40]}")
            return 0.0
        if not LOWEST <= number <= HIGHEST:
            self._count("clamped", 1, f"the value {number:g} lies outside [{LOWEST:g}, {HIGHEST:g}]")
        return min(HIGHEST, max(LOWEST, number))

    def _count(self, fault: Fault, answers: int, why: str) -> None:
        self.faults[fault] += answers
        self._said[fault] += 1
        if self._said[fault].bit_count() == 1:  # the 1st, 2nd, 4th... time: never silent, never a flood
            total = f"{self.faults[fault]} so far" if self._said[fault] > 1 else "counted as 0" if fault != "clamped" else "clamped"
            print(f"reward '{self.__name__}': {fault}: {why} ({total})", file=sys.stderr, flush=True)


def _collect(score: Score, answers: Sequence[Sampled], seconds: float) -> tuple[list[Any], BaseException | None]:
    """What `score` yields within its time, and what ended it early. Runs in a thread: signals and alarms belong to the main one."""
    found: list[Any] = []
    ended: list[BaseException] = []

    def work() -> None:
        try:
            for value in score(answers):
                found.append(value)
                if len(found) > len(answers):  # more than asked for, perhaps without end
                    return
        except BaseException as error:
            ended.append(error)

    thread = threading.Thread(target=work, name="reward", daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        kept = list(found)
        _stop(thread.ident or 0)
        return kept, TimeIsUp()
    return found, ended[0] if ended else None


def _stop(thread: int) -> None:
    """Raise `TimeIsUp` in a thread where it stands, but not inside a Python function that takes a lock.

    `Condition.__enter__` or `logging.Handler.acquire`, ended between taking and returning, would leave the lock taken for ever, and the
    next one to log would be the trainer. A thread that stays there, since it waits for a lock, is told all the same.
    """
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until:
        frame = sys._current_frames().get(thread)
        if frame is None or frame.f_globals.get("__name__") not in _LOCKING:
            break
        time.sleep(0.001)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(TimeIsUp))


def _words(error: BaseException | None) -> str:
    return " ".join(str(error).split())[:200] if error is not None and str(error) else type(error).__name__ if error else ""
