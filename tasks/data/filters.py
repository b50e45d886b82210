"""The document filters: each rule is one threshold of FilterConfig, and a refused document is told by the name of the rule it broke."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tasks.data.filter_config import FilterConfig
from tasks.data.repetition import failed_ngram, repeated

STOP_WORDS = frozenset({"the", "be", "to", "of", "and", "that", "have", "with"})
_FENCE = re.compile(r"```.*?```", re.DOTALL)
_HEADING = re.compile(r"^#+ ", re.MULTILINE)
_PARAGRAPHS = re.compile(r"\n{2,}")
_LINE_ENDS = (".", "!", "?", ":", '"', "'", "”", "’", "。", "！", "？", "…", "؟", "।")
_SHORT_LINE = 30


def failed_rule(text: str, rules: FilterConfig) -> str | None:
    """Name of the first rule that `text` breaks, or None when it passes them all; cheap rules come first.

    Most rules and thresholds are those of Gopher and FineWeb (Smol Training Playbook, data curation); the code rules are StarCoder's.
    """
    if not text.strip():
        return "empty"
    if any(forbidden in text for forbidden in rules.forbidden_text):
        return "forbidden_text"
    body = _FENCE.sub("", text) if rules.ignore_code_fences else text
    words = body.split()
    lines = [line for line in body.split("\n") if line.strip()]
    return (
        _size(body, words, rules)
        or _characters(body, lines, rules)
        or _quality(body, words, lines, rules)
        or _repetition(body, words, lines, rules)
    )


def _below(value: float, bound: float | None) -> bool:
    return bound is not None and value < bound


def _above(value: float, bound: float | None) -> bool:
    return bound is not None and value > bound


def _size(body: str, words: Sequence[str], rules: FilterConfig) -> str | None:
    if _below(len(body), rules.min_characters):
        return "min_characters"
    if _below(len(words), rules.min_words):
        return "min_words"
    if _above(len(words), rules.max_words):
        return "max_words"
    mean = sum(map(len, words)) / max(1, len(words))
    if _below(mean, rules.min_mean_word_length):
        return "min_mean_word_length"
    return "max_mean_word_length" if _above(mean, rules.max_mean_word_length) else None


def _characters(body: str, lines: Sequence[str], rules: FilterConfig) -> str | None:
    if rules.max_line_length is not None and any(len(line) > rules.max_line_length for line in lines):
        return "max_line_length"
    if _above(len(body) / max(1, body.count("\n") + 1), rules.max_mean_line_length):
        return "max_mean_line_length"
    if rules.min_alphanumeric is not None and sum(map(str.isalnum, body)) < rules.min_alphanumeric * len(body):
        return "min_alphanumeric"
    return None


def _quality(body: str, words: Sequence[str], lines: Sequence[str], rules: FilterConfig) -> str | None:
    if rules.min_alphabetic_words is not None:
        alphabetic = sum(any(map(str.isalpha, word)) for word in words)
        if alphabetic < rules.min_alphabetic_words * len(words):
            return "min_alphabetic_words"
    if rules.min_stop_words and len(STOP_WORDS.intersection(words)) < rules.min_stop_words:
        return "min_stop_words"
    if _above(_HEADING.sub("", body).count("#"), _scaled(rules.max_hash_ratio, words)):
        return "max_hash_ratio"
    if _above(body.count("...") + body.count("…"), _scaled(rules.max_ellipsis_ratio, words)):
        return "max_ellipsis_ratio"
    if _above(sum(line.lstrip().startswith(("•", "-")) for line in lines), _scaled(rules.max_bullet_lines, lines)):
        return "max_bullet_lines"
    if _above(sum(line.rstrip().endswith(("...", "…")) for line in lines), _scaled(rules.max_ellipsis_lines, lines)):
        return "max_ellipsis_lines"
    if _below(sum(line.rstrip().endswith(_LINE_ENDS) for line in lines), _scaled(rules.min_terminal_punctuation, lines)):
        return "min_terminal_punctuation"
    if _above(sum(len(line) <= _SHORT_LINE for line in lines), _scaled(rules.max_short_lines, lines)):
        return "max_short_lines"
    return None


def _scaled(share: float | None, parts: Sequence[str]) -> float | None:
    return None if share is None else share * len(parts)


def _repetition(body: str, words: Sequence[str], lines: Sequence[str], rules: FilterConfig) -> str | None:
    paragraphs = _PARAGRAPHS.split(body.strip())
    count, characters = repeated(paragraphs)
    if _above(count, _scaled(rules.max_duplicate_paragraphs, paragraphs)):
        return "max_duplicate_paragraphs"
    if rules.max_duplicate_paragraph_characters is not None and characters > rules.max_duplicate_paragraph_characters * len(body):
        return "max_duplicate_paragraph_characters"
    count, characters = repeated(lines)
    if _above(count, _scaled(rules.max_duplicate_lines, lines)):
        return "max_duplicate_lines"
    if rules.max_duplicate_line_characters is not None and characters > rules.max_duplicate_line_characters * len(body):
        return "max_duplicate_line_characters"
    return failed_ngram(words, len(body), rules.max_top_ngram, rules.max_duplicate_ngrams)
