"""The items of the tasks that are built here: from held-out text, without those that training text gives away, or from a seed alone."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from tasks.data import read_documents
from tasks.evaluation import documents
from tasks.evaluation.config import EvaluationConfig
from tasks.evaluation.contamination import contaminated
from tasks.evaluation.offline import GENERATORS
from tasks.evaluation.offline_item import Item
from tasks.evaluation.pairs import BUILDERS
from tasks.evaluation.suites import SuiteTask
from tasks.evaluation.tokens import TextTokenizer

SPARE = 1.5
"""Candidates built per item wanted of a task from held-out text, so that dropped ones are replaced."""
_MATERIAL = 4_000_000  # held-out bytes per source to build from: thousands of items


@dataclass(frozen=True)
class Items:
    """What the tasks run on, by task name."""

    kept: dict[str, list[Item]] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    """Tasks that cannot run on this data, and why."""


def build(config: EvaluationConfig, curated: Path | None, sources: list[str], tasks: Mapping[str, SuiteTask] | None = None) -> Items:
    """Items of every task of the suite, or of `tasks`, that has its items from here.

    Code tasks are built from the code sources, the others from the rest, the sources mixed evenly.

    Args:
        curated: needed by tasks that are built from held-out text.

    Raises:
        ConfigError: a generator has not so many different items.
    """
    tasks = config.chosen_suite().tasks if tasks is None else tasks
    items = Items()
    from_text = {name: task for name, task in tasks.items() if task.source == "heldout"}
    if from_text and curated is None:
        items.left_out.update(dict.fromkeys(from_text, "it is built from held-out text, and there is none"))
    elif curated is not None:
        _from_text(from_text, config, curated, sources, items)
    for name, task in tasks.items():
        if task.source == "generated":
            items.kept[name] = list(GENERATORS[name](random.Random(f"{config.seed} {name}"), task.made_items(config.items)))
            items.dropped[name] = 0
    return items


def leave_out_longer(items: Items, tokenizer: TextTokenizer, window: int) -> None:
    """Take out the generated tasks whose longest item does not fit the model's window: without its beginning it asks another question.

    A pair from held-out text only loses context, and stays.
    """
    for name in [name for name in items.kept if name in GENERATORS]:
        own = items.kept[name]
        longest = max(own, key=lambda item: len(item.context) + max(map(len, item.choices)))
        tokens = len(tokenizer.encode(longest.context + max(longest.choices, key=len)))
        if tokens > window:
            del items.kept[name]
            items.left_out[name] = f"its items have up to {tokens} tokens, and the model sees {window}"


def _from_text(tasks: Mapping[str, SuiteTask], config: EvaluationConfig, curated: Path, sources: list[str], items: Items) -> None:
    candidates: dict[str, list[Item]] = {}
    for name, task in tasks.items():
        code = name.startswith("code")
        own = [source for source in sources if config.is_code(source) == code]
        if own:
            candidates[name] = _candidates(config, name, task.made_items(config.items), curated, own)
        else:
            items.left_out[name] = f"no {'code' if code else 'prose'} source has held-out text"
    flat = [(name, item) for name, found in candidates.items() for item in found]
    shared = contaminated(
        [item.context + item.choices[item.label] for _, item in flat],
        (document.text for document in read_documents(curated / "train")),
        config.contamination_ngram,
    )
    for name in candidates:
        clean = [item for (owner, item), hit in zip(flat, shared, strict=True) if owner == name and not hit]
        items.dropped[name] = sum(hit for (owner, _), hit in zip(flat, shared, strict=True) if owner == name)
        if clean:
            items.kept[name] = clean[: tasks[name].made_items(config.items)]
        else:
            items.left_out[name] = f"{items.dropped[name]} items could be built from the held-out text, and training text holds all of them"


def _candidates(config: EvaluationConfig, task: str, wanted: int, curated: Path, sources: list[str]) -> list[Item]:
    wanted = round(wanted * SPARE)
    streams = []
    for source in sources:
        texts = documents.heldout(curated, source, seed=config.seed, max_bytes=_MATERIAL)
        streams.append(BUILDERS[task](texts, random.Random(f"{config.seed} {task} {source}")))
    found: dict[str, Item] = {}
    while streams and len(found) < wanted:
        for stream in list(streams):
            taken = list(islice(stream, 1))
            if not taken:
                streams.remove(stream)
            found.update({item.context + item.choices[item.label]: item for item in taken})
    return list(found.values())[:wanted]
