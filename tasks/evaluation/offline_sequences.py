"""Generated tasks of remembering what stands in the context: copying, induction, recall at growing length."""

from __future__ import annotations

import random
from collections.abc import Iterator

from tasks.evaluation.offline_item import CHOICES, WORDS, Draw, Item, distinct

_LINE = 4  # words of a line to copy
_PAIRS = 6  # pairs of the induction stream
_TOKENS_A_PAIR = 8  # of a line `lamp = 417`, with a vocabulary of about 2,000 and single digits


def copying(rng: random.Random, number: int) -> Iterator[Item]:
    """Four lines of four words, then the first half of one of them again: how does the copy go on?

    Every choice stands in the context once, at a random distance. At chance with 1.0 million parameters and 0.8 million tokens.
    """
    return distinct(_copying, rng, number)


def induction(rng: random.Random, number: int) -> Iterator[Item]:
    """Twelve different words, then one of them again: which word followed it before? (Olsson et al. 2022, induction heads.)

    Every choice stands in the context once. At chance with 1.0 million parameters and 0.8 million tokens.
    """
    return distinct(_induction, rng, number)


def recall(tokens: int) -> Draw:
    """Key-value retrieval after RULER (Hsieh et al. 2024): as many lines `word = number` as fill about `tokens` tokens, then one of the
    words again: which number was its own?

    Every choice stands in the context once, at a random distance. At chance with 1.0 million parameters and 0.8 million tokens,
    at every length of the suite.
    """
    pairs = max(CHOICES, tokens // _TOKENS_A_PAIR)

    def draw(rng: random.Random, label: int) -> Item:
        keys = rng.sample(WORDS, pairs)
        values = rng.sample(range(100, 1000), pairs)
        asked = rng.sample(range(pairs), CHOICES)
        lines = "".join(f"{key} = {value}\n" for key, value in zip(keys, values, strict=True))
        return Item(f"{lines}{keys[asked[label]]} =", tuple(f" {values[index]}" for index in asked), label)

    return draw


def _copying(rng: random.Random, label: int) -> Item:
    words = rng.sample(WORDS, CHOICES * _LINE)
    lines = [words[start : start + _LINE] for start in range(0, len(words), _LINE)]
    asked = rng.sample(lines, CHOICES)
    whole = "".join(f"{' '.join(line)}\n" for line in lines)
    return Item(whole + " ".join(asked[label][: _LINE // 2]), tuple(f" {' '.join(line[_LINE // 2 :])}" for line in asked), label)


def _induction(rng: random.Random, label: int) -> Item:
    words = rng.sample(WORDS, 2 * _PAIRS)
    keys, values = words[::2], words[1::2]
    asked = rng.sample(range(_PAIRS), CHOICES)
    return Item(f"{' '.join(words)} {keys[asked[label]]}", tuple(f" {values[index]}" for index in asked), label)
