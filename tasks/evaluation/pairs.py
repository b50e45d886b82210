"""Minimal pairs built from held-out text: one true string, one with a single planted fault.

They carry signal for models of a million parameters, where four-way questions stay at chance (Smol Training Playbook,
early-signal tasks). The true choice stands at a seeded place, so that a model without preference scores one half.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from tasks.evaluation.offline_item import Item

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z`])")
_FENCE = re.compile(r"```.*?```", re.S)
_ORDER = "word order"
_FAULTS: dict[str, list[tuple[str, str]]] = {
    "article": [(r"\ba (?=[bcdfgjklmnpqrstvwz])", "an "), (r"\ban (?=[aeio])", "a ")],
    "to be": [(r"\bis\b", "are"), (r"\bare\b", "is")],
    "to be, past": [(r"\bwas\b", "were"), (r"\bwere\b", "was")],
    "to have": [(r"\bhas\b", "have"), (r"\bhave\b", "has")],
    "demonstrative": [(r"\bthis\b", "these"), (r"\bthese\b", "this")],
    _ORDER: [
        (r"\bof the\b", "the of"),
        (r"\bin the\b", "the in"),
        (r"\bto the\b", "the to"),
        (r"\bcan be\b", "be can"),
        (r"\bmust be\b", "be must"),
        (r"\bif the\b", "the if"),
    ],
}
"""Family -> (what stands there, the fault). A family is a change and its reverse, used equally often, or a change of order alone: so a
model that knows nothing but how frequent each word is, is right half the time."""
_KEYWORDS = ("self", "return", "def", "if", "for", "in", "not", "is", "None", "import", "class", "raise", "else", "elif")
_KEYWORD = re.compile(rf"\b({'|'.join(_KEYWORDS)})\b")
_CONTEXT = 300


def grammar_pairs(documents: Sequence[str], rng: random.Random) -> Iterator[Item]:
    """A sentence of prose, and the same with one fault of article, agreement or word order; at most two of one paragraph."""
    paragraphs = [p for text in documents for p in _FENCE.sub("", text).split("\n\n") if len(p) > 80 and not p.startswith(("#", "-", " "))]
    rng.shuffle(paragraphs)
    used: Counter[tuple[str, int]] = Counter()
    for paragraph in paragraphs:
        for sentence in _SENTENCE_END.split(" ".join(paragraph.split()))[:2]:
            wrong = _faulty(sentence, used, rng) if 40 < len(sentence) < 200 else None
            if wrong is not None:
                yield _pair("", sentence, wrong, rng)


def code_keyword_pairs(documents: Sequence[str], rng: random.Random, passes: int = 20) -> Iterator[Item]:
    """A line of code after the lines before it, and the same line with one keyword replaced; one item of each document a pass.

    Every keyword is about as often the true one as the false one, so that its frequency alone tells nothing.
    """
    places: list[dict[str, list[re.Match[str]]]] = []
    for text in documents:
        places.append({})
        for place in _KEYWORD.finditer(text):
            places[-1].setdefault(place.group(1), []).append(place)
    order = [number for number, found in enumerate(places) if found]
    true: Counter[str] = Counter()
    false: Counter[str] = Counter()
    for _ in range(passes):
        rng.shuffle(order)
        for number in order:
            word = min(places[number], key=lambda keyword: (true[keyword] - false[keyword], rng.random()))
            other = min((k for k in _KEYWORDS if k != word), key=lambda keyword: (false[keyword] - true[keyword], rng.random()))
            pair = _keyword_pair(documents[number], rng.choice(places[number][word]), other, rng)
            if pair is not None:
                true[word] += 1
                false[other] += 1
                yield pair


BUILDERS: dict[str, Callable[[Sequence[str], random.Random], Iterator[Item]]] = {
    "grammar_pairs": grammar_pairs,
    "code_keyword_pairs": code_keyword_pairs,
}


def _faulty(sentence: str, used: Counter[tuple[str, int]], rng: random.Random) -> str | None:
    """`sentence` with one fault: of the family used least, and of the direction that is not ahead of its reverse."""
    found: list[tuple[int, float, tuple[str, int], str]] = []
    for family, rules in _FAULTS.items():
        total = sum(used[family, number] for number in range(len(rules)))
        for number, (pattern, fault) in enumerate(rules):
            if family != _ORDER and used[family, number] > used[family, 1 - number]:
                continue
            wrong = re.sub(pattern, fault, sentence, count=1)
            if wrong != sentence:
                found.append((total, rng.random(), (family, number), wrong))
    if not found:
        return None
    _, _, rule, wrong = min(found)
    used[rule] += 1
    return wrong


def _keyword_pair(text: str, place: re.Match[str], other: str, rng: random.Random) -> Item | None:
    start = text.rfind("\n", 0, place.start()) + 1
    end = text.find("\n", place.end())
    line = text[start : end if end >= 0 else len(text)]
    context = text[max(0, start - _CONTEXT) : start]
    if not 12 < len(line.strip()) < 120 or line.lstrip().startswith("#") or not context.strip():
        return None
    wrong = line[: place.start() - start] + other + line[place.end() - start :]
    return _pair(context, line, wrong, rng)


def _pair(context: str, right: str, wrong: str, rng: random.Random) -> Item:
    label = rng.randrange(2)
    return Item(context, (right, wrong) if label == 0 else (wrong, right), label)
