from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Sequence

import pytest
from scipy.stats import binomtest

from contracts.errors import ConfigError
from tasks.evaluation.offline import CHANCE, GENERATORS, RECALL_TOKENS, Item
from tasks.evaluation.offline_item import WORDS, distinct
from tests.tasks.evaluation.material import corpus, train_tokenizer

NUMBER = 400
CLOSES = {"(": ")", "[": "]", "{": "}", "<": ">"}
Scorer = Callable[[Item, str], float]


def made(task: str, seed: int = 0, number: int = NUMBER) -> list[Item]:
    return list(GENERATORS[task](random.Random(seed), number))


def chosen(item: Item, score: Scorer, rng: random.Random) -> int:
    """Index of the choice with the highest score, ties broken by lot."""
    return max(range(len(item.choices)), key=lambda index: (score(item, item.choices[index]), rng.random()))


def ignorant(items: Sequence[Item]) -> dict[str, Scorer]:
    """Scorers that know nothing of the task: frequency, length, order, place."""
    characters = Counter("".join(item.context + "".join(item.choices) for item in items))
    words = Counter(word for item in items for word in re.findall(r"\S+", item.context + "".join(item.choices)))

    def frequency(item: Item, choice: str) -> float:
        return sum(characters[character] for character in choice)

    def word_frequency(item: Item, choice: str) -> float:
        return sum(words[word] for word in choice.split())

    def in_context(item: Item, choice: str) -> float:
        return sum(item.context.split().count(word) for word in choice.split())

    def characters_in_context(item: Item, choice: str) -> float:
        return sum(item.context.count(character) for character in choice)

    def recent(item: Item, choice: str) -> float:
        return item.context.rfind(choice.split()[0])

    scorers: dict[str, Scorer] = {
        "uniform": lambda item, choice: 0.0,
        "first": lambda item, choice: -item.choices.index(choice),
        "last": lambda item, choice: item.choices.index(choice),
        "longest": lambda item, choice: len(choice),
        "alphabet": lambda item, choice: -item.choices.index(min(item.choices)) if choice == min(item.choices) else -99,
        "frequency": frequency,
        "word frequency": word_frequency,
        "in context": in_context,
        "characters in context": characters_in_context,
        "recent": recent,
    }
    return scorers | {f"not {name}": opposite(score) for name, score in scorers.items()}


def opposite(score: Scorer) -> Scorer:
    return lambda item, choice: -score(item, choice)


@pytest.mark.parametrize("task", GENERATORS)
def test_scorer_that_knows_nothing_of_the_task_is_at_chance(task: str) -> None:
    items = made(task)
    rng = random.Random(1)
    for name, score in ignorant(items).items():
        right = sum(chosen(item, score, rng) == item.label for item in items)
        assert binomtest(right, len(items), CHANCE).pvalue > 1e-4, (name, right / len(items))


def copied(item: Item) -> str:
    *lines, begun = item.context.split("\n")
    return next(line.removeprefix(begun) for line in lines if line.startswith(begun))


def induced(item: Item) -> str:
    words = item.context.split()
    return " " + words[words.index(words[-1]) + 1]


def added(item: Item) -> str:
    return f" {sum(map(int, re.findall(r'[0-9]+', item.context)))}"


def added_without_carry(item: Item) -> str:
    one, other = re.findall(r"[0-9]+", item.context)
    return " " + "".join(str((int(a) + int(b)) % 10) for a, b in zip(one, other, strict=True))


def closed(item: Item) -> str:
    unclosed: list[str] = []
    for symbol in item.context:
        if symbol in CLOSES:
            unclosed.append(symbol)
        elif symbol in CLOSES.values():
            assert CLOSES[unclosed.pop()] == symbol
    return f" {CLOSES[unclosed[-1]]}"


def recalled(item: Item) -> str:
    *lines, question = item.context.split("\n")
    return " " + dict(line.split(" = ") for line in lines)[question.removesuffix(" =")]


SOLVERS = {
    "copying": copied,
    "induction": induced,
    "arithmetic_without_carry": added,
    "arithmetic_with_carry": added,
    "bracket_matching": closed,
} | {f"recall_{tokens}": recalled for tokens in RECALL_TOKENS}


@pytest.mark.parametrize("task", GENERATORS)
def test_who_can_do_the_task_is_always_right(task: str) -> None:
    for item in made(task):
        assert item.choices[item.label] == SOLVERS[task](item), item
        assert item.choices.count(item.choices[item.label]) == 1


@pytest.mark.parametrize("task", GENERATORS)
def test_choices_are_different_and_of_one_length_and_no_item_comes_twice(task: str) -> None:
    items = made(task)
    for item in items:
        assert len(item.choices) == round(1 / CHANCE) == len(set(item.choices))
        assert len({len(choice) for choice in item.choices}) == 1
        assert all(choice.startswith(" ") for choice in item.choices) and not item.context.endswith(" ")
    assert len(items) == len({item.context for item in items}) == NUMBER


@pytest.mark.parametrize("task", GENERATORS)
def test_every_place_holds_the_right_choice_equally_often(task: str) -> None:
    assert set(Counter(item.label for item in made(task)).values()) == {NUMBER // 4}
    few = Counter(item.label for item in made(task, number=6))
    assert max(few.values()) - min(few.get(label, 0) for label in range(4)) <= 1


@pytest.mark.parametrize("task", GENERATORS)
def test_same_seed_generates_the_same_items(task: str) -> None:
    assert made(task, seed=3, number=50) == made(task, seed=3, number=50) != made(task, seed=4, number=50)


def test_carry_is_all_that_separates_the_two_additions() -> None:
    plain, carrying = made("arithmetic_without_carry"), made("arithmetic_with_carry")
    assert all(item.choices[item.label] == added_without_carry(item) for item in plain)
    assert not any(item.choices[item.label] == added_without_carry(item) for item in carrying)
    tempted = sum(added_without_carry(item) in item.choices for item in carrying)
    assert tempted / len(carrying) > 0.5, "the sum without its carry should stand among the choices"


def test_recall_grows_and_stays_within_its_name() -> None:
    tokenizer = train_tokenizer(corpus()["prose"])
    lengths = []
    for tokens in RECALL_TOKENS:
        items = made(f"recall_{tokens}", number=50)
        lines = [item.context.count("\n") for item in items]
        assert set(lines) == {tokens // 8}
        lengths.append(max(len(tokenizer(item.context + item.choices[0])["input_ids"]) for item in items))
    assert lengths == sorted(set(lengths))
    assert all(tokens < length < 2 * tokens for tokens, length in zip(RECALL_TOKENS, lengths, strict=True))


def test_more_items_than_there_are_is_refused() -> None:
    def narrow(rng: random.Random, label: int) -> Item:
        return Item(rng.choice("ab"), (" 1", " 2", " 3", " 4"), label)

    assert len(list(distinct(narrow, random.Random(0), 2))) == 2
    with pytest.raises(ConfigError, match=r"about 2 different items of 3"):
        list(distinct(narrow, random.Random(0), 3))


def test_words_are_of_one_length() -> None:
    assert {len(word) for word in WORDS} == {4} and len(set(WORDS)) == len(WORDS)
