"""What an evaluation says: the schema of evaluation.json and samples.json."""

from __future__ import annotations

from typing import Any

from contracts.config import Config

__all__ = ["BitsPerByte", "Evaluation", "Sample", "TaskResult"]


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
    """Accuracy on one task, with a Wilson interval over its items."""

    metric: str
    """Name of the measure."""
    value: float
    """Measured value."""
    low: float
    """Lower end of the interval."""
    high: float
    """Upper end of the interval."""
    items: int
    """Items scored."""
    chance: float
    """What guessing scores."""
    dropped: int
    """Items left out because they share an n-gram with training text."""
    few_shot: int
    """Worked examples in the prompt."""
    prompt_hash: str
    """Digest of every prompt and choice, in order: two results with different digests do not compare."""


class Evaluation(Config):
    """evaluation.json."""

    bits_per_byte: dict[str, BitsPerByte]
    """By source."""
    tasks: dict[str, TaskResult]
    """By task."""
    settings: dict[str, Any]
    """How it was measured: backend, precision, batch size, context, seeds, versions, what was left out and why."""

    def metrics(self) -> dict[str, float]:
        """The numbers that go to the manifest and the tracking server, by name."""
        found: dict[str, float] = {}
        for source, row in self.bits_per_byte.items():
            found[f"bits_per_byte/{source}"] = row.model
            found[f"bits_per_byte_bigram/{source}"] = row.bigram
            found[f"wins_vs_bigram/{source}"] = float(row.model < row.bigram)
        for name, task in self.tasks.items():
            found[f"accuracy/{name}"] = task.value
        return found


class Sample(Config):
    """One element of samples.json."""

    source: str
    """Source the prompt comes from."""
    prompt: str
    """Beginning of a held-out document."""
    completion: str
    """What the model wrote after it."""
