"""Evaluation section of a recipe: what is measured, by which backend, and how exactly.

Bits per byte decide at small scale; the pair tasks carry signal from about 0.4 million tokens on; four-way tasks stay at chance
there (Smol Training Playbook, early-signal tasks).
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from contracts.config import Config, Gate, Placement
from tasks.evaluation.suites import Suite, SuiteTask, find, named_task, suite_of

__all__ = ["BitsPerByteConfig", "EvaluationConfig", "SamplingConfig", "SuiteTask", "named_task", "suite_of"]


class BitsPerByteConfig(Config):
    """Compression of held-out text, per source, against a token bigram of the training shards."""

    sources: list[str] = Field([])
    """Sources to score (empty: every one that has held-out text)."""
    heldout_bytes: int = Field(100_000, ge=1000)
    """Held-out text to score per source, in UTF-8 bytes (documents in a seeded order)."""
    document_bytes: int = Field(4000, ge=100)
    """Score at most this much of one document, from its start, so that no single file decides."""
    window: int = Field(1024, ge=16)
    """Longest context in tokens; never more than the model's own maximum."""
    bigram_tokens: int = Field(5_000_000, ge=1000)
    """Training tokens per source that the bigram counts, from the start of the shard."""
    resamples: int = Field(1000, ge=100)
    """Resamples of the bootstrap over documents."""


class SamplingConfig(Config):
    """Text generated for a reader, not for a score."""

    prompts: int = Field(2, ge=0)
    """Prompts per source, taken from held-out text."""
    prompt_bytes: int = Field(120, ge=8)
    """Length of a prompt in UTF-8 bytes, cut at a word."""
    new_tokens: int = Field(48, ge=1)
    """Tokens to generate for each prompt."""
    temperature: float = Field(0.8, ge=0.0)
    """Sampling temperature (0: greedy)."""
    top_p: float = Field(0.95, gt=0.0, le=1.0)
    """Share of the probability mass to draw from."""


class EvaluationConfig(Config):
    """Configuration of the stage `evaluate`."""

    backend: Literal["transformers", "megatron", "vllm"] = "transformers"
    """transformers: the converted, parity-checked model; megatron: the training checkpoint as it is; vllm: the converted model on a GPU."""
    suite: str = "offline"
    """Tasks to run: offline (needs nothing but the curated text), ablation, smollm3_base, post_training, or
    bits_per_byte (no tasks)."""
    suite_version: int = 1
    """Version of the suite that this recipe was written for; another one is refused, since its results do not compare."""
    tasks: list[str] = Field([])
    """Only these tasks of the suite (empty: all that fit the chosen formulation)."""
    formulation: Literal["suite", "cloze", "multiple_choice", "generation"] = "suite"
    """How questions are put; suite: as the suite says for each task. `recommend_formulation` gives the playbook's rule."""
    items: int | None = Field(None, ge=1)
    """At most this many items of each task (unset: as many as the suite says); below 100 no difference means anything (Smol Training
    Playbook, evaluation guidebook)."""
    contamination_ngram: int | None = Field(13, ge=2)
    """An item built from held-out text that shares an n-gram of this many words with training text is dropped and counted (none: no
    check; the recipe must then waive the gate `contamination`)."""
    run_generated_code: Gate[bool] = False
    """Let tasks run here what the model writes (humaneval). It is code from nowhere: only inside a container without network."""
    bits_per_byte: BitsPerByteConfig = BitsPerByteConfig()
    """Bits per byte of held-out text."""
    samples: SamplingConfig = SamplingConfig()
    """Generated text."""
    code_sources: list[str] = Field(["*code*", "*stack*"])
    """Name patterns of the sources that hold program text; grammar pairs come from all others."""
    confidence: Annotated[float, Field(gt=0.5, lt=1.0)] = 0.95
    """Coverage of every interval."""
    seed: int = 0
    """Seed of the choice of documents and items, of the bootstrap and of the generated text."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the forward passes."""
    batch_size: Placement[int] = Field(16, ge=1)
    """Sequences per forward pass; recorded with every result."""
    every_checkpoint: Placement[bool] = False
    """Measure every confirmed checkpoint of a phase while it is trained, beside the training, which does not wait for it."""

    def is_code(self, source: str) -> bool:
        """Whether `source` holds program text."""
        return any(fnmatchcase(source, pattern) for pattern in self.code_sources)

    def chosen_suite(self) -> Suite:
        """The suite with the chosen tasks and formulation only."""
        return find(self.suite, self.suite_version).choose(self.tasks, None if self.formulation == "suite" else self.formulation)

    @model_validator(mode="after")
    def _pinned(self) -> Self:
        self.chosen_suite()
        return self
