from __future__ import annotations

from typing import Any

import pytest

from tasks.data.filter_config import FilterConfig
from tasks.data.filters import failed_rule
from tests.tasks.data.material import prose

GOOD = prose(1)
LINES = [f"Line {n} of the text that belongs to page {n * 7}." for n in range(40)]
CODE = "\n".join(f"def function_{n}(value):\n    return value * {n} + offset_{n}\n" for n in range(20))

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "min_characters": ({"min_characters": 200}, "x = 1\n"),
    "min_words": ({"min_words": 50}, "too few words"),
    "max_words": ({"max_words": 100}, "word " * 101),
    "min_mean_word_length": ({"min_mean_word_length": 3.0}, "a b c d e"),
    "max_mean_word_length": ({"max_mean_word_length": 10.0}, "incomprehensibilities internationalization"),
    "min_alphabetic_words": ({"min_alphabetic_words": 0.75}, "one 2 3 4 5 6"),
    "min_stop_words": ({"min_stop_words": 2}, "cheap shoes best price buy now the"),
    "max_hash_ratio": ({"max_hash_ratio": 0.1}, "#fun #sun #run in town"),
    "max_ellipsis_ratio": ({"max_ellipsis_ratio": 0.1}, "well... so... and then…"),
    "max_bullet_lines": ({"max_bullet_lines": 0.9}, "\n".join(f"- item {n}" for n in range(20))),
    "max_ellipsis_lines": ({"max_ellipsis_lines": 0.3}, "\n".join(f"read more about {n} ..." for n in range(10))),
    "max_duplicate_paragraphs": ({"max_duplicate_paragraphs": 0.3}, "\n\n".join(["same words here"] * 5)),
    "max_duplicate_paragraph_characters": (
        {"max_duplicate_paragraph_characters": 0.2},
        "\n\n".join(["a", "b", "c", "d", "long" * 20, "long" * 20]),
    ),
    "max_duplicate_lines": ({"max_duplicate_lines": 0.3}, "menu\n" * 10),
    "max_duplicate_line_characters": ({"max_duplicate_line_characters": 0.05}, "\n".join([*LINES[:20], LINES[0], LINES[1], LINES[2]])),
    "max_top_ngram": ({"max_top_ngram": {2: 0.2}}, "buy now here buy now there buy now"),
    "max_duplicate_ngrams": ({"max_duplicate_ngrams": {5: 0.15}}, "one two three four five six seven. " * 4),
    "min_terminal_punctuation": ({"min_terminal_punctuation": 0.12}, "Home\nAbout us\nContact\nImprint"),
    "max_short_lines": ({"max_short_lines": 0.67}, "short\nlines\nonly\n"),
    "max_line_length": ({"max_line_length": 1000}, "x" * 1001),
    "max_mean_line_length": ({"max_mean_line_length": 100.0}, "y = 1 " * 40),
    "min_alphanumeric": ({"min_alphanumeric": 0.25}, "{[(+-*/)]};:,.a" * 20),
    "forbidden_text": ({"forbidden_text": ["<|endoftext|>"]}, GOOD + " <|endoftext|> " + GOOD),
}


def test_every_rule_has_a_planted_input() -> None:
    assert set(REFUSED) == set(FilterConfig.model_fields) - {"ignore_code_fences"}


@pytest.mark.parametrize("rule", REFUSED)
def test_rule_refuses_what_it_should_and_nothing_once_off(rule: str) -> None:
    setting, text = REFUSED[rule]
    assert failed_rule(text, FilterConfig.parse(setting)) == rule
    assert failed_rule(text, FilterConfig()) is None


@pytest.mark.parametrize("rule", REFUSED)
def test_rule_passes_good_text(rule: str) -> None:
    good = CODE if rule in {"min_characters", "max_line_length", "max_mean_line_length", "min_alphanumeric"} else GOOD
    assert failed_rule(good, FilterConfig.parse(REFUSED[rule][0] if rule != "max_words" else {"max_words": 1000})) is None


def test_presets_pass_their_own_kind_and_refuse_the_other() -> None:
    assert failed_rule(GOOD, FilterConfig.parse("prose")) is None
    assert failed_rule(CODE, FilterConfig.parse("code")) is None
    assert failed_rule(CODE, FilterConfig.parse("prose")) is not None


def test_blank_text_never_passes() -> None:
    assert failed_rule(" \n\t", FilterConfig()) == "empty"


def test_fences_are_ignored_where_asked() -> None:
    text = GOOD + "\n\n```\n" + "x = 1\n" * 60 + "```\n"
    assert failed_rule(text, FilterConfig.parse("prose")) is None
    assert failed_rule(text, FilterConfig.parse({"preset": "prose", "ignore_code_fences": False})) is not None


def test_headings_are_no_hash_tags() -> None:
    assert failed_rule("### Title\n\nof words", FilterConfig(max_hash_ratio=0.1)) is None
