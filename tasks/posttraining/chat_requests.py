"""What the bodies of the stages `chat`, `pairs-NAME`, `measure-STAGE` and of the vibe check are given.

Inputs by role: `chat` reads `model` (a Hugging Face folder; a tokenizer's folder will do) and, where there is one, `curate`; `pairs-NAME`
reads `model` and `chat`; `measure-STAGE` reads `model` and, where there is one, `curate`.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from contracts.config import Config, Gate, Later, Placement
from tasks.data import Side
from tasks.evaluation.config import suite_of
from tasks.posttraining.config import (
    ChatEvaluation,
    ChatLint,
    ChatSource,
    ChatTemplate,
    DistillationConfig,
    PostTrainingConfig,
    PreferenceConfig,
)

__all__ = ["ChatRequest", "CheckedTask", "Holds", "MeasureRequest", "PairsRequest", "StepSources", "VibeRequest", "chat_request"]

MEASURE_SEED = 0
"""Of every measurement of a recipe, so that the items it will ask can be kept out of the data."""
Holds = Literal["conversations", "pairs", "prompts", "questions"]
"""What a step needs of its sources: whole conversations, chosen and rejected answers, questions whose answers can be verified, or any."""


class StepSources(Config):
    """The data of one training stage."""

    stage: str
    """Its name, for example `sft-main`; its folder in the artifact."""
    holds: Holds
    """What the rows are."""
    sources: list[ChatSource] = Field(min_length=1)
    """Where they come from."""
    seed: int = 0
    """Seed of generated items."""
    length: int | None = Field(default=None, ge=8)
    """Longest sequence in tokens that the step takes; the linter reports what is longer."""


class CheckedTask(Config):
    """A task of `posttraining.evaluation.tasks`, whose items no row may give away."""

    suite: str
    """Suite that has it."""
    version: int
    """The suite's version."""
    items: int | None = None
    """Items that one measurement asks, where they are made here; else every one there is."""


class ChatRequest(Config):
    """Body config of the stage `chat`."""

    template: ChatTemplate
    """How conversations become text."""
    lint: ChatLint = ChatLint()
    """What they are held to."""
    contamination_ngram: int = Field(default=13, ge=0)
    """A row that shares an n-gram of this many words with held-out text or a task's item is dropped (0: no such check)."""
    tasks: Later[dict[str, CheckedTask]] = Field({})
    """Tasks that models will be measured on."""
    steps: list[StepSources] = Field(min_length=1)
    """Training stages with their sources."""


class PairsRequest(Config):
    """Body config of the stage `pairs-NAME`; `chat` holds `preference-NAME/SOURCE.jsonl` for each source of the step."""

    template: ChatTemplate
    """How conversations become text."""
    step: PreferenceConfig
    """The step the pairs are for; its `pairs` says how they are made."""
    batch_size: Placement[int] = Field(default=64, ge=1)
    """Prompts answered side by side, and kept together as one part: what a killed stage loses is one of them at most."""


class MeasureRequest(Config):
    """Body config of the stage `measure-STAGE`."""

    template: ChatTemplate
    """Put on the model's tokenizer, so that a base model is asked as its children are."""
    evaluation: ChatEvaluation
    """Skills, items and limits."""
    seed: int = MEASURE_SEED
    """Which held-out items are drawn, and the sampled answers."""
    side: Side = "validation"
    """`validation` steers the line; `test` is read once, by the release."""
    heldout_bytes: int = Field(default=20_000, ge=0)
    """Bytes of held-out text per source that bits per byte are taken of, where `curate` is among the inputs (0: none)."""
    window: int = Field(default=256, ge=8)
    """Longest sequence in tokens for bits per byte."""
    confidence: Gate[float] = Field(default=0.95, gt=0, lt=1)
    """Of the intervals in the summary; the statistics themselves hold none."""


class VibeRequest(Config):
    """Body config of the vibe check: a fixed pack of prompts, for a person to read."""

    template: ChatTemplate
    """Put on the model's tokenizer."""
    max_answer_tokens: int = Field(default=64, ge=1)
    """Longest answer."""


def chat_request(config: PostTrainingConfig) -> ChatRequest:
    """What the stage `chat` uses of a recipe: every step's sources, and what the step needs of them."""
    steps = []
    for stage, step in config.steps.items():
        sources = getattr(step, "prompts", None) or getattr(step, "sources", [])
        holds: Holds = "conversations" if hasattr(step, "sources") else "prompts"
        if isinstance(step, PreferenceConfig):
            holds = "pairs" if step.pairs is None else "prompts" if step.pairs.verified else "questions"
        elif isinstance(step, DistillationConfig):
            holds = "questions"
        steps.append(StepSources(stage=stage, holds=holds, sources=sources, seed=step.seed, length=getattr(step, "max_length", None)))
    return ChatRequest(
        template=config.template, lint=config.lint, contamination_ngram=config.contamination_ngram, steps=steps,
        tasks=_checked_tasks(config) if config.contamination_ngram else {},
    )  # fmt: skip


def _checked_tasks(config: PostTrainingConfig) -> dict[str, CheckedTask]:
    """All that the measurements of a recipe ask, the release's among them: each has the same tasks."""
    found = {}
    for name, task in config.evaluation.named_tasks().items():
        suite, items = suite_of(name), None if task.source == "harness" else task.made_items(config.evaluation.task_items)
        found[name] = CheckedTask(suite=suite.name, version=suite.version, items=items)
    return found
