"""How questions are put to a model, and which way the playbook recommends for its size and training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any

from tasks.evaluation.offline_item import Item
from tasks.evaluation.suites import Formulation, SuiteTask

_LETTERS_READ = ((1.7e9, 6e12), (7e9, 5e11))
"""(parameters, tokens) at which MMLU in letters leaves chance: SmolLM2-1.7B and OLMES' 7B (Smol Training Playbook, task formulation)."""
_SMALLEST = 5e8
"""Parameters below which nothing is known, and the line through the two points would promise what nobody has seen."""
_NO_AVERAGE, _ANSWERS, _MOST_SAMPLES = 2000, 1500, 64


@dataclass(frozen=True)
class Recommendation:
    """A formulation, and why."""

    formulation: Formulation
    reason: str


def recommend_formulation(parameters: int, tokens_seen: int, *, post_trained: bool = False) -> Recommendation:
    """The formulation in which a model of this size and training shows a signal.

    Cloze for small and early models; letters once the model reads them, about 500 billion tokens at 7 billion parameters and 6 trillion at
    1.7 billion; generation for post-trained models (Smol Training Playbook, task formulation). Between those two published points the
    threshold is a line in logarithms; outside them it is a guess by the same line.
    """
    if post_trained:
        return Recommendation("generation", "a post-trained model is asked as it is used: it writes the answer")
    if parameters < _SMALLEST:
        return Recommendation("cloze", f"no model as small as {parameters:,} parameters is known to read letters")
    (small, late), (large, early) = _LETTERS_READ
    slope = math.log(early / late) / math.log(large / small)
    needed = late * (parameters / small) ** slope
    size = f"{parameters / 1e9:.3g} billion parameters"
    if tokens_seen >= needed:
        return Recommendation("multiple_choice", f"{size} read letters from about {needed / 1e12:.2g} trillion tokens on")
    seen = f"{tokens_seen / 1e9:.3g} billion tokens" if tokens_seen else "an unknown number of tokens"
    return Recommendation("cloze", f"{size} after {seen}: letters are read from about {needed / 1e12:.2g} trillion tokens on")


def recommended_samples(items: int) -> int:
    """Answers to take of each item (avg@k): one from 2,000 items on, below that the power of two that gives at least 1,500, at most 64.

    It is 64 for the 30 questions of AIME25, 16 for 100 and 8 for 198, as in the playbook (Smol Training Playbook, post-training
    evaluations).
    """
    if items >= _NO_AVERAGE:
        return 1
    return min(_MOST_SAMPLES, 2 ** math.ceil(math.log2(_ANSWERS / max(items, 1))))


def put(name: str, task: SuiteTask, items: Sequence[Item]) -> dict[str, Any]:
    """`items` as a task in lm-eval's own format, in the task's formulation."""
    if task.formulation == "cloze":
        rows = [{"context": item.context, "choices": list(item.choices), "label": item.label} for item in items]
    elif task.formulation == "multiple_choice":
        letters = [[f" {letter}" for letter in ascii_uppercase[: len(item.choices)]] for item in items]
        rows = [{"context": _listed(item), "choices": own, "label": item.label} for item, own in zip(items, letters, strict=True)]
    else:
        rows = [{"context": item.context, "answer": item.choices[item.label].strip()} for item in items]
    config: dict[str, Any] = {
        "task": name,
        "custom_dataset": lambda **_: _dataset(rows),
        "test_split": "test",
        "doc_to_text": "context",
        "target_delimiter": "",
        "num_fewshot": 0,
    }
    metrics = [{"metric": task.metric, "aggregation": "mean", "higher_is_better": True}]
    if task.formulation != "generation":
        return config | {"output_type": "multiple_choice", "doc_to_choice": "choices", "doc_to_target": "label", "metric_list": metrics}
    longest = max((len(item.choices[item.label]) for item in items), default=1)
    return config | {
        "output_type": "generate_until",
        "doc_to_target": "answer",
        "generation_kwargs": {"until": ["\n"], "max_gen_toks": longest + 2, "do_sample": False, "temperature": 0.0},
        "filter_list": [{"name": "answer", "filter": [{"function": "remove_whitespace"}, {"function": "take_first"}]}],
        "metric_list": metrics,
    }


def _dataset(rows: list[dict[str, Any]]) -> dict[str, Any]:
    from datasets import Dataset

    return {"test": Dataset.from_list(rows)}


def _listed(item: Item) -> str:
    spaced = [choice if choice[:1].isspace() else f" {choice}" for choice in item.choices]
    lines = [f"{letter}.{choice}" for letter, choice in zip(ascii_uppercase, spaced, strict=False)]
    question = f"{item.context.rstrip()}\n" if item.context.strip() else ""
    return question + "\n".join(lines) + "\nAnswer:"
