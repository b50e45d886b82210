"""How chat data is described: its sources, the template that makes text of it, and what it is held to."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from contracts.config import Config, Gate

Mode = Literal["think", "no_think"]
HUB = "hf:"
"""What the URI of a data set or a model on a hub begins with."""


class ChatSource(Config):
    """One set of conversations or preference pairs."""

    name: str
    """Name in tables and plots."""
    uri: str
    """Where it is read from: `hf:owner/dataset`, a folder or any fsspec URL of Parquet or JSON lines; `generated:SKILL` makes items."""
    subset: str = ""
    """Configuration of a Hugging Face dataset."""
    split: str = "train"
    """Split of a Hugging Face dataset."""
    mode: Mode = "no_think"
    """Whether its answers carry a reasoning trace."""
    weight: float = Field(default=1.0, gt=0)
    """Share of its examples that is used (1: all of them)."""
    examples: int | None = Field(default=None, ge=1)
    """Number of examples: of a generated skill how many are made (needed there), else as published; unset: unknown."""
    tokens: int | None = Field(default=None, ge=1)
    """Published number of tokens; unset: unknown."""


class ChatTemplate(Config):
    """How a conversation becomes text."""

    kind: Literal["chatml", "smollm3", "file"] = "chatml"
    """A known template, or `file` for one of your own."""
    path: str = ""
    """The Jinja file of a template of your own."""
    default_mode: Mode = "no_think"
    """Mode when neither /think nor /no_think is asked for."""
    keep_reasoning: bool = True
    """Keep the reasoning of every turn in training text, not of the last one alone."""
    header: bool = False
    """A metadata header (knowledge cutoff, today's date, mode) in the system turn; without it the turn says the mode alone."""
    knowledge_cutoff: str = ""
    """Date in the header, for example `June 2025`; empty: not said."""
    instructions: str = ""
    """What the system turn says where a conversation brings no text of its own."""

    @model_validator(mode="after")
    def _path(self) -> Self:
        if (self.kind == "file") != bool(self.path):
            raise ValueError("`path` belongs to kind 'file', and kind 'file' needs it")
        return self


class ChatLint(Config):
    """What a chat data set is held to. Thresholds decide what is reported and whether it stops the line, never what is trained on."""

    length: int | None = Field(default=None, ge=8)
    """Longest sequence in tokens; what is longer is cut. Unset: nothing is cut."""
    max_truncated: Gate[float] = Field(default=0.05, ge=0, le=1)
    """Largest share of samples that may be longer."""
    min_mode_share: Gate[float] = Field(default=0.1, ge=0, le=0.5)
    """In a set with both modes, the smallest share of tokens the lesser one should have (SmolLM3's baseline: 0.47, its final set: 0.44)."""
    min_paired: Gate[float] = Field(default=0.05, ge=0, le=1)
    """In a set with both modes, the smallest share of prompts that should be answered in both."""
    examples: int = Field(default=3, ge=1)
    """Examples kept per rule."""
