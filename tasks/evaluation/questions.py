"""What the items of tasks say, without what their tasks say around every item: what data for training must not give away.

Smol Training Playbook, post-training data: decontaminate against every benchmark that will be read later.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tasks.data import sources_in
from tasks.evaluation import harness, items
from tasks.evaluation.config import EvaluationConfig
from tasks.evaluation.harness import Prepared, Reader
from tasks.evaluation.named import both_halves, require_built
from tasks.evaluation.offline_item import Item
from tasks.evaluation.suites import SuiteTask

_PART_OF_WORD = re.compile(r"\w*\Z")


class Question(NamedTuple):
    """One item of a task."""

    text: str
    """What is asked, or where nothing is (which of two sentences is right?) the right answer."""
    answer: str
    """The reference answer where it is a text; else empty."""


def questions_of(tasks: Mapping[str, SuiteTask], tokenizer: Path, curated: Path | None, *, seed: int) -> dict[str, list[Question]]:
    """Every item that `NamedTasks.prepare` may have asked, of both halves, and more of some tasks; of those with `lengths`, the shortest.

    Of lm-eval's tasks it is every item, whichever are drawn, without description and worked examples. RULER asks the same about a passage
    at every length, among more of them; its random words and numbers are others at each, and stand in no text but its own. Of a task from
    held-out text it is every candidate, since the check of the candidates against training text, which drops some of them, reads all of it.

    Args:
        tokenizer: folder; for tasks whose items are built to a length.
        curated: documents; needed by tasks that are built from held-out text.
        seed: of the measurements.

    Raises:
        InputError: a task whose data cannot be had.
    """
    lengths = [min(task.lengths) for task in tasks.values() if task.lengths]
    whole = {
        name: task.model_copy(update={"items": None, "few_shot": 0, "lengths": sorted(task.lengths)[:1]})
        for name, task in tasks.items()
        if task.source == "harness"
    }
    reader = Reader(tokenizer, max(lengths, default=0))
    reached = harness.from_harness(whole, limit=None, seed=seed, run_generated_code=False, reader=reader)
    there = sources_in(curated / "heldout") if curated is not None else []
    made = both_halves(tasks, None)
    for name, task in made.items():
        if task.source == "heldout":
            made[name] = task.model_copy(update={"items": round(items.SPARE * task.made_items(None))})
    built = items.build(EvaluationConfig(seed=seed, contamination_ngram=None), curated, there, made)
    require_built(built)
    found = {name: [_made_here(item, tasks[name]) for item in kept] for name, kept in built.kept.items()}
    return found | {name: _of_harness(one) for name, one in reached.items()}


def without_frame(texts: Sequence[str]) -> list[str]:
    """Texts without the words with which all of them begin, and those with which all of them end (`Question:`, `Answer:`)."""
    different = set(texts)
    if len(different) < 2:
        return list(texts)
    head = _common(list(different))
    tail = _common([text[::-1] for text in different])
    return [text[head : max(head, len(text) - tail)].strip() or text for text in texts]


def _common(texts: Sequence[str]) -> int:
    """Characters that all texts begin with, whole words alone."""
    first, last = min(texts), max(texts)  # what these two share, all between them share
    shared = first[: next((n for n, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))]
    if any(re.match(r"\w", text[len(shared) : len(shared) + 1]) for text in texts):
        shared = _PART_OF_WORD.sub("", shared)
    return len(shared)


def _made_here(item: Item, task: SuiteTask) -> Question:
    right = item.choices[item.label]
    if task.source == "heldout":  # a piece of running text, its true end beside a false one
        return Question(item.context + right, "")
    return Question(item.context, right)


def _of_harness(prepared: Prepared) -> list[Question]:
    found: list[Question] = []
    for part in prepared.parts.values():
        asked = [_asked(part, doc) for doc in part.eval_docs]
        texts = without_frame([one.text for one in asked])
        found += [one._replace(text=text) for one, text in zip(asked, texts, strict=True)]
    return found


def _asked(part: Any, doc: Any) -> Question:
    """Question and answer as the task puts them; a number stands for a choice, in either place."""
    choices = part.doc_to_choice(doc) if part.OUTPUT_TYPE == "multiple_choice" else []
    text, answer = (_text(value, choices) for value in (part.doc_to_text(doc), part.doc_to_target(doc)))
    return Question(text, answer) if text.strip() else Question(answer, "")


def _text(value: Any, choices: Sequence[Any]) -> str:
    if isinstance(value, int) and 0 <= value < len(choices):
        value = choices[value]
    return value if isinstance(value, str) else ""
