"""Sufficient statistics of an evaluation: what every table, interval and paired comparison is derived from."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from statistics import fmean
from typing import Any

from pydantic import Field

from contracts.config import Config
from contracts.errors import InputError

__all__ = ["FILE", "Answered", "Compressed", "Scores", "distinct", "lower_is_better", "read"]

FILE = "scores.json"
BITS, ACCURACY = "bits_per_byte", "accuracy"


class Compressed(Config):
    """One source's held-out documents, each with what the model needs for it; all lists have one element a document."""

    documents: list[str]
    """Ids."""
    bits: list[float]
    """Bits under the model."""
    bytes: list[int]
    """UTF-8 bytes scored."""
    tokens: list[int] = Field([])
    """Tokens scored."""
    bigram_bits: list[float] = Field([])
    """Bits under the token bigram; empty where there is none."""


class Answered(Config):
    """One task's items, each with what the model made of it."""

    items: list[str]
    """Digest of each item: prompt and choices."""
    right: list[float]
    """1 right, 0 wrong; with several samples of an item the share of them that is right."""
    samples: int = 1
    """Answers taken of each item (avg@k)."""
    chance: float = 0.0
    """What guessing scores."""
    generative: bool = False
    """Whether the answer was generated."""
    formulation: str = ""
    """cloze, multiple_choice or generation."""
    metric: str = ""
    """Measure of an item, by lm-eval's name."""
    few_shot: list[str] = Field([])
    """Ids of the worked examples in every prompt, in order."""
    prompts: str = ""
    """Digest of every prompt, choice and target, in order."""
    decoding: dict[str, float] = Field({})
    """temperature and top_p of sampled answers; empty where the likeliest was taken."""
    dropped: int = 0
    """Items left out because they share an n-gram with training text."""


class Scores(Config):
    """scores.json of an evaluation."""

    suite: str
    """Name and version of the suite, and the digest of everything that must be equal for two results to be compared."""
    tokenizer: str
    """Digest of the tokenizer: a loss compares within one only; bits per byte and accuracy compare across."""
    backend: str
    """What computed it, with version: transformers, megatron-core (not converted) or vLLM."""
    vocab_size: int = 0
    """Entries of the vocabulary: what guessing every token alike scores follows from it; 0: not known."""
    tokens_seen: int = 0
    """Tokens the model was trained on, where known."""
    diverged_at: int | None = None
    """Step at which training was stopped as diverged: then nothing was measured."""
    compressed: dict[str, Compressed] = Field({})
    """By source."""
    answered: dict[str, Answered] = Field({})
    """By task."""
    left_out: dict[str, str] = Field({})
    """Task -> why it did not run."""
    settings: dict[str, Any] = Field({})
    """How it was measured: device, threads, precision, batch size, window, seed, versions, confidence and resamples of the intervals, the
    formulation that the playbook recommends for such a model."""

    def values(self) -> dict[str, float]:
        """Metric -> value: bits_per_byte/SOURCE, their mean bits_per_byte, accuracy/TASK. A missing source blocks the mean."""
        found = {f"{BITS}/{source}": sum(one.bits) / sum(one.bytes) for source, one in self.compressed.items() if sum(one.bytes)}
        if found and len(found) == len(self.compressed):
            found[BITS] = fmean(found.values())
        return found | {f"{ACCURACY}/{task}": fmean(one.right) for task, one in self.answered.items() if one.right}


def distinct(names: Iterable[str]) -> list[str]:
    """The names with `#2`, `#3`... behind those that stood before: equal documents or questions stay countable."""
    seen: Counter[str] = Counter()
    found: list[str] = []
    for name in names:
        seen[name] += 1
        found.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
    return found


def lower_is_better(metric: str) -> bool:
    """Direction of a metric: bits per byte and losses go down, accuracies up."""
    return not metric.startswith(ACCURACY)


def read(folder: Path) -> Scores:
    """The statistics in an evaluation's artifact.

    Raises:
        InputError: it has none that can be read: it is no evaluation, or one of an older version.
    """
    try:
        return Scores.parse(json.loads((folder / FILE).read_text()), FILE)
    except (OSError, ValueError) as error:
        raise InputError(f"no evaluation can be read: {error}", where=str(folder), do="run the stage evaluate again") from None
