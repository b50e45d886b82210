"""Minimal pairs built from held-out text: one true string, one with a single planted fault.

They carry signal for models of a million parameters, where four-way questions stay at chance (Smol Training Playbook,
early-signal tasks). The true choice stands at a seeded place, so that a model without preference scores one half.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z`])")
_FENCE = re.compile(r"```.*?```", re.S)
# (pattern, fault): articles, agreement, word order; every change has its reverse or keeps the length, so length gives nothing away
_FAULTS = [
    (re.compile(pattern), fault)
    for pattern, fault in [
        (r"\ba (?=[bcdfgjklmnpqrstvwz])", "an "),
        (r"\ban (?=[aeio])", "a "),
        (r"\bis\b", "are"),
        (r"\bare\b", "is"),
        (r"\bhas\b", "have"),
        (r"\bhave\b", "has"),
        (r"\bwas\b", "were"),
        (r"\bwere\b", "was"),
        (r"\bthis\b", "these"),
        (r"\bthese\b", "this"),
        (r"\bof the\b", "the of"),
        (r"\bin the\b", "the in"),
        (r"\bcan be\b", "be can"),
        (r"\bmust be\b", "be must"),
        (r"\bif the\b", "the if"),
    ]
]
_KEYWORDS = ["self", "return", "def", "if", "for", "in", "None", "class"]
_KEYWORD = re.compile(r"\b(self|return|def|if|for|in|not|is|None|import|class|raise|else|elif)\b")
_CONTEXT = 300


@dataclass(frozen=True)
class Pair:
    """One item: which of `choices` continues `context`?"""

    context: str
    choices: tuple[str, str]
    label: int

    @property
    def truth(self) -> str:
        """Context and true choice as they stood in the document."""
        return self.context + self.choices[self.label]

    def row(self) -> dict[str, object]:
        """As a JSON object."""
        return asdict(self)


def grammar_pairs(documents: Sequence[str], rng: random.Random) -> Iterator[Pair]:
    """A sentence of prose, and the same with one fault of article, agreement or word order; at most two of one paragraph."""
    paragraphs = [p for text in documents for p in _FENCE.sub("", text).split("\n\n") if len(p) > 80 and not p.startswith(("#", "-", " "))]
    rng.shuffle(paragraphs)
    for paragraph in paragraphs:
        for sentence in _SENTENCE_END.split(" ".join(paragraph.split()))[:2]:
            wrong = _faulty(sentence, rng) if 40 < len(sentence) < 200 else None
            if wrong is not None:
                yield _pair("", sentence, wrong, rng)


def code_keyword_pairs(documents: Sequence[str], rng: random.Random, passes: int = 8) -> Iterator[Pair]:
    """A line of code after the lines before it, and the same line with one keyword replaced; one item of each document a pass."""
    places = {number: list(_KEYWORD.finditer(text)) for number, text in enumerate(documents)}
    order = [number for number, found in places.items() if len(found) > 10]
    for _ in range(passes):
        rng.shuffle(order)
        for number in order:
            pair = _keyword_pair(documents[number], rng.choice(places[number]), rng)
            if pair is not None:
                yield pair


BUILDERS: dict[str, Callable[[Sequence[str], random.Random], Iterator[Pair]]] = {
    "grammar_pairs": grammar_pairs,
    "code_keyword_pairs": code_keyword_pairs,
}


def _faulty(sentence: str, rng: random.Random) -> str | None:
    for pattern, fault in rng.sample(_FAULTS, len(_FAULTS)):
        wrong = pattern.sub(fault, sentence, count=1)
        if wrong != sentence:
            return wrong
    return None


def _keyword_pair(text: str, place: re.Match[str], rng: random.Random) -> Pair | None:
    start = text.rfind("\n", 0, place.start()) + 1
    end = text.find("\n", place.end())
    line = text[start : end if end >= 0 else len(text)]
    context = text[max(0, start - _CONTEXT) : start]
    if not 12 < len(line.strip()) < 120 or line.lstrip().startswith("#") or not context.strip():
        return None
    other = rng.choice([word for word in _KEYWORDS if word != place.group(1)])
    wrong = line[: place.start() - start] + other + line[place.end() - start :]
    return _pair(context, line, wrong, rng)


def _pair(context: str, right: str, wrong: str, rng: random.Random) -> Pair:
    label = rng.randrange(2)
    return Pair(context, (right, wrong) if label == 0 else (wrong, right), label)
