"""Thresholds of the document filters; a threshold that is not set switches its rule off."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, model_validator

from contracts.config import Config, nearest

Share = Annotated[float, Field(ge=0.0, le=1.0)]


@cache
def filter_presets() -> dict[str, dict[str, Any]]:
    """Filter settings by preset name (`filters.yaml`)."""
    loaded: dict[str, dict[str, Any]] = yaml.safe_load((Path(__file__).parent / "filters.yaml").read_text(encoding="utf-8"))
    return loaded


class FilterConfig(Config):
    """One rule per field; `{preset: prose, min_words: 20}` (or just `prose`) starts from a named setting.

    The rules and most thresholds are Gopher's, C4's and FineWeb's (Smol Training Playbook, data curation); the code rules are StarCoder's.
    """

    ignore_code_fences: bool = False
    """Judge only the text outside ``` fences (documentation mixes prose with examples)."""
    min_characters: int | None = Field(None, ge=0)
    """Shortest document kept, in characters."""
    min_words: int | None = Field(None, ge=0)
    """Fewest whitespace-separated words."""
    max_words: int | None = Field(None, ge=1)
    """Most whitespace-separated words."""
    min_mean_word_length: float | None = None
    """Shortest mean word, in characters."""
    max_mean_word_length: float | None = None
    """Longest mean word, in characters."""
    min_alphabetic_words: Share | None = None
    """Smallest share of words that contain a letter."""
    min_stop_words: int | None = Field(None, ge=0)
    """Fewest different stop words out of the, be, to, of, and, that, have, with."""
    max_hash_ratio: Share | None = None
    """Most '#' signs per word."""
    max_ellipsis_ratio: Share | None = None
    """Most ellipses per word."""
    max_bullet_lines: Share | None = None
    """Largest share of lines that start with a bullet."""
    max_ellipsis_lines: Share | None = None
    """Largest share of lines that end with an ellipsis."""
    max_duplicate_paragraphs: Share | None = None
    """Largest share of paragraphs that repeat an earlier one."""
    max_duplicate_paragraph_characters: Share | None = None
    """Largest share of characters in repeated paragraphs."""
    max_duplicate_lines: Share | None = None
    """Largest share of lines that repeat an earlier one."""
    max_duplicate_line_characters: Share | None = None
    """Largest share of characters in repeated lines."""
    max_top_ngram: dict[int, Share] = Field({})
    """Per n: largest share of characters covered by the most frequent n-gram of words."""
    max_duplicate_ngrams: dict[int, Share] = Field({})
    """Per n: largest share of characters inside n-grams of words seen before in the document."""
    min_terminal_punctuation: Share | None = None
    """Smallest share of lines that end a sentence (or end with a colon)."""
    max_short_lines: Share | None = None
    """Largest share of lines of 30 characters or less."""
    max_line_length: int | None = Field(None, ge=1)
    """Longest line, in characters (minified or generated files)."""
    max_mean_line_length: float | None = None
    """Longest mean line, in characters."""
    min_alphanumeric: Share | None = None
    """Smallest share of characters that are letters or digits (data tables, encoded blobs)."""
    forbidden_text: list[str] = Field([])
    """Documents that contain any of these are dropped: literal control tokens would otherwise become control tokens."""

    @model_validator(mode="before")
    @classmethod
    def _from_preset(cls, data: Any) -> Any:
        if isinstance(data, str):
            data = {"preset": data}
        if not isinstance(data, dict) or "preset" not in data:
            return data
        name = data["preset"]
        if name not in filter_presets():
            raise ValueError(f"unknown filter preset '{name}'{nearest(str(name), list(filter_presets()))}")
        return {**filter_presets()[name], **{k: v for k, v in data.items() if k != "preset"}}
