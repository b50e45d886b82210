"""The reward of generated programs: the share of their tests that they pass, in the sandbox."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tasks.posttraining.rewards.sampled import Sampled
from tasks.posttraining.sandbox import Limits, require_isolation, run_code

_BLOCK = re.compile(r"```(?:python|py)?[ \t]*\n(.*?)```", re.DOTALL)


class CodeTests:
    """Share of the tests of column `tests` that the last fenced Python block of the reply passes.

    A test is (what the program reads, what it must print), or the same as an object with `input` and `output`; white space at the ends
    does not count. About 35 ms a test and core.
    """

    def __init__(self, limits: Limits | None = None, workers: int = 0) -> None:
        """Raises ResourceError where the machine cannot lock generated code in."""
        self.level = require_isolation()
        self._limits, self._workers = limits or Limits(), workers or min(8, os.cpu_count() or 1)

    def __call__(self, answers: Sequence[Sampled]) -> Iterator[float | None]:
        """One value per answer, in order, as they are ready."""
        pool = ThreadPoolExecutor(self._workers, thread_name_prefix="code")
        try:
            yield from pool.map(self._share, answers)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _share(self, answer: Sampled) -> float | None:
        tests = [_test(one) for one in answer.row.get("tests") or ()]
        if not tests:
            return None
        blocks = _BLOCK.findall(answer.text.rpartition("</think>")[2])
        if not blocks or not answer.ended:
            return 0.0
        return sum(self._passes(blocks[-1], given, expected) for given, expected in tests) / len(tests)

    def _passes(self, code: str, given: str, expected: str) -> bool:
        done = run_code(code, given, self._limits, self.level)
        return done.passed and done.output.strip() == expected.strip()


def _test(test: Any) -> tuple[str, str]:
    given, expected = (test["input"], test["output"]) if isinstance(test, Mapping) else test
    return str(given), str(expected)
