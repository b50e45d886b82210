"""Cut long texts at natural boundaries: headings, then blank lines, then lines, then anywhere."""

from __future__ import annotations

import re

_BOUNDARIES = (re.compile(r"(?m)^(?=## )"), re.compile(r"(?<=\n\n)(?=\S)"), re.compile(r"(?<=\n)"))


def split_text(text: str, characters: int) -> list[str]:
    """Pieces of at most about `characters` characters whose concatenation is `text`; a short text is one piece."""
    return _split(text, characters, 0)


def _split(text: str, characters: int, level: int) -> list[str]:
    if len(text) <= characters:
        return [text]
    if level == len(_BOUNDARIES):
        return [text[start : start + characters] for start in range(0, len(text), characters)]
    pieces: list[str] = []
    current = ""
    for part in _BOUNDARIES[level].split(text):
        if current and len(current) + len(part) > characters:
            pieces += _split(current, characters, level + 1)
            current = ""
        current += part
    if current:
        pieces += _split(current, characters, level + 1)
    return pieces
