"""What a reader sees of an evaluation: tables with intervals, derived from its sufficient statistics whenever they are read."""

from __future__ import annotations

from contracts.config import Config
from tasks.evaluation.scores import Answered, Compressed, Scores

__all__ = ["BitsPerByte", "Evaluation", "Sample", "TaskResult", "derive"]


class BitsPerByte(Config):
    """Compression of one source's held-out text; lower is better."""

    model: float
    """Bits per UTF-8 byte under the model."""
    low: float | None
    """Lower end of the interval over documents (none: a single document says nothing about the others)."""
    high: float | None
    """Upper end of the interval over documents."""
    bigram: float
    """Bits per byte under the token bigram of the training shards."""
    difference: float
    """Model minus bigram; negative means that the model wins."""
    difference_low: float | None
    """Lower end of the difference's interval, both scored on the same resampled documents."""
    difference_high: float | None
    """Upper end of the difference's interval."""
    documents: int
    """Documents scored."""
    bytes: int
    """UTF-8 bytes scored."""
    tokens: int
    """Tokens scored."""


class TaskResult(Config):
    """Accuracy on one task, with an interval over its items."""

    metric: str
    """Measure of an item."""
    formulation: str
    """cloze, multiple_choice or generation."""
    value: float
    """Measured value."""
    low: float | None
    """Lower end of the interval."""
    high: float | None
    """Upper end of the interval."""
    items: int
    """Items scored."""
    samples: int
    """Answers taken of each item (avg@k)."""
    chance: float
    """What guessing scores."""
    dropped: int
    """Items left out because they share an n-gram with training text."""
    few_shot: int
    """Worked examples in the prompt."""


class Evaluation(Config):
    """The tables."""

    bits_per_byte: dict[str, BitsPerByte]
    """By source."""
    tasks: dict[str, TaskResult]
    """By task."""


class Sample(Config):
    """One element of samples.json."""

    source: str
    """Source the prompt comes from."""
    prompt: str
    """Beginning of a held-out document."""
    completion: str
    """What the model wrote after it."""


def derive(scores: Scores, *, confidence: float, resamples: int, seed: int = 0) -> Evaluation:
    """Tables with intervals.

    Bootstrap over documents for bits per byte, Wilson for a share of items that are right or wrong, bootstrap over items where each is an
    average of several answers.
    """
    return Evaluation(
        bits_per_byte={name: _compression(one, confidence, resamples, seed) for name, one in scores.compressed.items() if sum(one.bytes)},
        tasks={name: _accuracy(one, confidence, resamples, seed) for name, one in scores.answered.items() if one.right},
    )


def _compression(one: Compressed, confidence: float, resamples: int, seed: int) -> BitsPerByte:
    import numpy as np

    from tasks.evaluation.intervals import bootstrap_ratio

    ours, size, total = np.asarray(one.bits), np.asarray(one.bytes, float), float(sum(one.bytes))
    theirs = np.asarray(one.bigram_bits) if one.bigram_bits else np.full(len(ours), np.nan)
    low, high = bootstrap_ratio(ours, size, confidence=confidence, resamples=resamples, seed=seed) or (None, None)
    apart = bootstrap_ratio(ours - theirs, size, confidence=confidence, resamples=resamples, seed=seed) or (None, None)
    return BitsPerByte(
        model=float(ours.sum()) / total,
        low=low,
        high=high,
        bigram=float(theirs.sum()) / total,
        difference=float((ours - theirs).sum()) / total,
        difference_low=apart[0],
        difference_high=apart[1],
        documents=len(ours),
        bytes=int(total),
        tokens=sum(one.tokens),
    )


def _accuracy(one: Answered, confidence: float, resamples: int, seed: int) -> TaskResult:
    from tasks.evaluation.intervals import bootstrap_ratio, wilson

    value = sum(one.right) / len(one.right)
    ends: tuple[float | None, float | None] = (None, None)
    if set(one.right) <= {0.0, 1.0}:
        ends = wilson(int(sum(one.right)), len(one.right), confidence)
    else:
        ends = bootstrap_ratio(one.right, [1.0] * len(one.right), confidence=confidence, resamples=resamples, seed=seed) or ends
    return TaskResult(
        metric=one.metric,
        formulation=one.formulation,
        value=value,
        low=ends[0],
        high=ends[1],
        items=len(one.right),
        samples=one.samples,
        chance=one.chance,
        dropped=one.dropped,
        few_shot=len(one.few_shot),
    )
