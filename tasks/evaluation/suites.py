"""Suites of tasks as data (suites.yaml): each versioned, so that a recipe pins what it is measured with."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from contracts.config import Config, nearest
from contracts.yaml_text import load_yaml

__all__ = ["BY_LENGTH", "Formulation", "Suite", "SuiteTask", "find", "named_task", "suite_of"]

Formulation = Literal["cloze", "multiple_choice", "generation"]
"""cloze: every choice is a continuation, ranked by its log-probability; multiple_choice: the choices stand in the prompt, their letters are
ranked; generation: the answer is written and compared."""
BY_LENGTH = "by_length"
"""The measure of RULER's items: lm-eval names it by the length that an item was built to."""
_DEFAULT_ITEMS = 200
_FILE = Path(__file__).with_name("suites.yaml")


class SuiteTask(Config):
    """One task of a suite."""

    source: Literal["heldout", "generated", "harness"] = "harness"
    """Where its items come from: built from held-out text, generated from a seed, or lm-eval's own task with data from the hub."""
    formulation: Formulation = "cloze"
    """How the questions are put."""
    harness: dict[Formulation, str | list[str] | dict[str, Any]] = Field({})
    """harness: formulation -> name of lm-eval's task or group, several such names, or a task in lm-eval's own format."""
    metric: str = "acc_norm"
    """Measure of an item, by lm-eval's name; acc_norm ranks by log-probability per character, acc by the plain one."""
    filter: str | None = None
    """lm-eval's filter that extracts the answer, where the task has several."""
    few_shot: int = Field(0, ge=0)
    """Worked examples in the prompt: the first ones of the task's own split for them, in its order."""
    items: int | None = Field(None, ge=1)
    """At most this many items, drawn by the seed over all parts of the task; unset: every one."""
    samples: int | Literal["recommended"] = 1
    """Answers sampled of each item (avg@k); recommended: by the number of items."""
    temperature: float = Field(0.6, ge=0)
    """Sampling temperature where several answers are taken."""
    top_p: float = Field(0.95, gt=0, le=1)
    """Share of the probability mass to sample from."""
    runs_code: bool = False
    """Whether scoring runs what the model wrote."""
    lengths: list[int] = Field([])
    """Lengths in tokens, by the model's own tokenizer, to which lm-eval builds the items; longer ones than the model sees are left out."""
    recall: int = Field(0, ge=0)
    """Tokens, about, over which the task asks for what stands in the context; 0: it asks for something else."""

    @property
    def generative(self) -> bool:
        """Whether the answer is written; else choices are ranked by their likelihood."""
        return self.formulation == "generation"

    def made_items(self, limit: int | None) -> int:
        """Items that one measurement asks of a task whose items are made here.

        Args:
            limit: at most this many.
        """
        return min(filter(None, (self.items, limit)), default=_DEFAULT_ITEMS)

    @model_validator(mode="after")
    def _runnable(self) -> Self:
        if self.source == "harness" and self.formulation not in self.harness:
            raise ValueError(f"formulation {self.formulation} has no task of lm-eval's beside it")
        if self.formulation != "generation" and self.samples != 1:
            raise ValueError("several samples of an item need a generated answer")
        return self

    def put_as(self, formulation: Formulation) -> SuiteTask | None:
        """The same task in another formulation; None where it has none."""
        if formulation == self.formulation:
            return self
        if self.source == "harness" and formulation not in self.harness:
            return None
        metric = {"cloze": "acc_norm", "multiple_choice": "acc", "generation": "exact_match"}[formulation]
        return self.model_copy(update={"formulation": formulation, "metric": metric, "samples": 1})


class Suite(Config):
    """Tasks that are run together."""

    name: str
    """Name."""
    version: int
    """Raised with every change of a task: results of different versions do not compare."""
    does: str
    """What it is for."""
    tasks: dict[str, SuiteTask]
    """By name."""
    elsewhere: dict[str, str] = Field({})
    """Tasks of the published list that lm-eval has not -> where they run."""

    def choose(self, names: list[str], formulation: Formulation | None) -> Suite:
        """Only the tasks `names` (none given: all), put as `formulation` (None: each as the suite says; tasks without it are left out).

        Raises:
            ValueError: an unknown task, or a named one that has not this formulation.
        """
        unknown = [name for name in names if name not in self.tasks]
        if unknown:
            raise ValueError(f"suite '{self.name}' has no task '{unknown[0]}'{nearest(unknown[0], list(self.tasks))}")
        chosen = {name: task if formulation is None else task.put_as(formulation) for name, task in self.tasks.items()}
        kept = {name: task for name, task in chosen.items() if task is not None and (not names or name in names)}
        missing = [name for name in names if name not in kept]
        if missing:
            raise ValueError(f"task '{missing[0]}' of suite '{self.name}' cannot be put as {formulation}")
        return self.model_copy(update={"tasks": kept})


def find(name: str, version: int) -> Suite:
    """The suite `name`.

    Raises:
        ValueError: no such suite, or it stands at another version.
    """
    known = _suites()
    if name not in known:
        raise ValueError(f"no suite '{name}'{nearest(name, list(known))}")
    suite = known[name]
    if suite.version != version:
        raise ValueError(
            f"suite '{name}' stands at version {suite.version}, not {version}: results of the two do not compare; "
            f"write suite_version: {suite.version} and measure both sides again"
        )
    return suite


def named_task(name: str) -> SuiteTask:
    """A task of any suite, as the first suite in the file that has it puts it.

    Raises:
        ValueError: no suite has it.
    """
    return suite_of(name).tasks[name]


def suite_of(name: str) -> Suite:
    """The first suite in the file that has the task `name`.

    Raises:
        ValueError: no suite has it.
    """
    suites = list(_suites().values())
    for suite in suites:
        if name in suite.tasks:
            return suite
    elsewhere = next((suite.elsewhere[name] for suite in suites if name in suite.elsewhere), None)
    known = list(dict.fromkeys(task for suite in suites for task in suite.tasks))
    raise ValueError(f"no suite has the task '{name}'{f' ({elsewhere})' if elsewhere else nearest(name, known)}")


@cache
def _suites() -> dict[str, Suite]:
    document = load_yaml(_FILE.read_text(), str(_FILE))
    return {name: Suite.parse({"name": name, **fields}, str(_FILE)) for name, fields in document.items()}
