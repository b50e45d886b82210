"""Which language a text is in, without a model: the script of its letters, then its function words."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from pathlib import Path

import yaml

_CHARACTERS = 3000
_WORD = re.compile(r"[^\W\d_]+")
_FENCE = re.compile(r"```.*?(```|\Z)", re.DOTALL)
_MIN_HITS = 5
_MIN_SHARE = 0.1
_MARGIN = 0.8
_SCRIPTS = {
    "latin": re.compile("[A-Za-z\u00c0-\u024f]"),
    "cyrillic": re.compile("[\u0400-\u052f]"),
    "greek": re.compile("[\u0370-\u03ff]"),
    "han": re.compile("[\u4e00-\u9fff]"),
    "kana": re.compile("[\u3040-\u30ff]"),
    "hangul": re.compile("[\uac00-\ud7af]"),
    "arabic": re.compile("[\u0600-\u06ff]"),
    "hebrew": re.compile("[\u0590-\u05ff]"),
    "devanagari": re.compile("[\u0900-\u097f]"),
    "thai": re.compile("[\u0e00-\u0e7f]"),
}
_SCRIPT_OF = {
    "ru": ["cyrillic"], "uk": ["cyrillic"], "bg": ["cyrillic"], "el": ["greek"], "zh": ["han"], "ja": ["kana", "han"], "ko": ["hangul"],
    "ar": ["arabic"], "fa": ["arabic"], "he": ["hebrew"], "hi": ["devanagari"], "th": ["thai"],
}  # fmt: skip


@cache
def _function_words() -> dict[str, frozenset[str]]:
    loaded: dict[str, str] = yaml.safe_load((Path(__file__).parent / "languages.yaml").read_text(encoding="utf-8"))
    return {str(language): frozenset(words.split()) for language, words in loaded.items()}


def known_languages() -> list[str]:
    """ISO 639-1 codes that can be asked for."""
    return sorted([*_function_words(), *_SCRIPT_OF])


def in_language(text: str, language: str) -> bool:
    """Whether `text` reads as `language` (its first 3,000 characters outside code fences are judged).

    A text with hardly any function words of another known language passes when its script fits: the quality rules judge such text.
    Languages that share a script other than Latin are not told apart.
    """
    text = _FENCE.sub("", text[: 4 * _CHARACTERS])[:_CHARACTERS]
    if not _script_fits(text, _SCRIPT_OF.get(language, ["latin"])):
        return False
    if language not in _function_words():
        return True
    words = Counter(_WORD.findall(text.lower()))
    hits = {name: sum(words[word] for word in known) for name, known in _function_words().items()}
    best = max(hits.values())
    return best < max(_MIN_HITS, _MIN_SHARE * words.total()) or hits[language] >= _MARGIN * best


def _script_fits(text: str, scripts: list[str]) -> bool:
    if text.isascii():
        return "latin" in scripts
    counts = {name: len(pattern.findall(text)) for name, pattern in _SCRIPTS.items()}
    return sum(counts[name] for name in scripts) >= 0.5 * sum(counts.values())
