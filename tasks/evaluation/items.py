"""The items of the pair tasks: built from held-out text, without those that training text gives away."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from tasks.data import read_documents
from tasks.evaluation import documents
from tasks.evaluation.config import EvaluationConfig
from tasks.evaluation.contamination import contaminated
from tasks.evaluation.pairs import BUILDERS, Pair

_SPARE = 1.5  # candidates built per item wanted, so that dropped ones are replaced
_MATERIAL = 4_000_000  # held-out bytes per source to build from: thousands of items


@dataclass(frozen=True)
class Items:
    """What the pair tasks run on, by task name."""

    kept: dict[str, list[Pair]] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    """Tasks that cannot run on this data, and why."""


def build(config: EvaluationConfig, curated: Path, sources: list[str]) -> Items:
    """Items of every task of the config: code from the code sources, grammar from all others, the sources mixed evenly."""
    items = Items()
    candidates: dict[str, list[Pair]] = {}
    for task in map(str, config.pairs.tasks):
        code = task == "code_keyword_pairs"
        own = [source for source in sources if config.is_code(source) == code]
        candidates[task] = _candidates(config, task, curated, own)
        if not own:
            items.left_out[task] = f"no {'code' if code else 'prose'} source has held-out text"
    flat = [(task, pair) for task, pairs in candidates.items() for pair in pairs]
    shared = contaminated(
        [pair.truth for _, pair in flat],
        (document.text for document in read_documents(curated / "train")),
        config.pairs.contamination_ngram,
    )
    for task in candidates:
        if task in items.left_out:
            continue
        clean = [pair for (owner, pair), hit in zip(flat, shared, strict=True) if owner == task and not hit]
        items.dropped[task] = sum(hit for (owner, _), hit in zip(flat, shared, strict=True) if owner == task)
        if clean:
            items.kept[task] = clean[: config.pairs.items]
        else:
            items.left_out[task] = f"{items.dropped[task]} items could be built from the held-out text, and training text holds all of them"
    return items


def _candidates(config: EvaluationConfig, task: str, curated: Path, sources: list[str]) -> list[Pair]:
    wanted = round(config.pairs.items * _SPARE)
    streams = []
    for source in sources:
        texts = documents.heldout(curated, source, seed=config.seed, max_bytes=_MATERIAL)
        streams.append(BUILDERS[task](texts, random.Random(f"{config.seed} {task} {source}")))
    found: dict[str, Pair] = {}
    while streams and len(found) < wanted:
        for stream in list(streams):
            taken = list(islice(stream, 1))
            if not taken:
                streams.remove(stream)
            found.update({pair.truth: pair for pair in taken})
    return list(found.values())[:wanted]
