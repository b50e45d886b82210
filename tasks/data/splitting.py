"""Cut long texts at natural boundaries: headings, then blank lines, then lines, then anywhere; never inside a fenced block by choice."""

from __future__ import annotations

import re
from collections.abc import Iterator

_BOUNDARIES = (re.compile(r"(?m)^(?=## )"), re.compile(r"(?<=\n\n)(?=\S)"), re.compile(r"(?<=\n)"))
_FENCED = 2  # the first two kinds of boundary are ignored inside ``` fences


def split_text(text: str, characters: int) -> list[str]:
    """Pieces of at most `characters` characters whose concatenation is `text`; a short text is one piece."""
    return _split(text, characters, 0)


def _split(text: str, characters: int, level: int) -> list[str]:
    if len(text) <= characters:
        return [text]
    if level == len(_BOUNDARIES):
        return [text[start : start + characters] for start in range(0, len(text), characters)]
    pieces: list[str] = []
    start = end = 0
    for cut in _cuts(text, level):
        if cut - start > characters and end > start:
            pieces += _split(text[start:end], characters, level + 1)
            start = end
        end = cut
    return pieces + _split(text[start:], characters, level + 1)


def _cuts(text: str, level: int) -> Iterator[int]:
    """Positions where this kind of boundary cuts, the end of the text last."""
    fences = at = 0
    for match in _BOUNDARIES[level].finditer(text):
        if level < _FENCED:
            fences += text.count("```", at, match.start())
            at = match.start()
            if fences % 2:
                continue
        yield match.start()
    yield len(text)
