from __future__ import annotations

import math
import random
import re
from collections import Counter

import pytest

from tasks.evaluation import items
from tasks.evaluation.config import EvaluationConfig
from tasks.evaluation.contamination import contaminated
from tasks.evaluation.offline_item import Item
from tasks.evaluation.pairs import code_keyword_pairs, grammar_pairs
from tasks.evaluation.tokens import TextTokenizer
from tests.tasks.evaluation.material import corpus, write_curated

PAIRS = ["grammar_pairs", "code_keyword_pairs"]
SENTENCE = "One two three four five six seven eight nine ten eleven twelve thirteen fourteen."


def truth(item: Item) -> str:
    return item.context + item.choices[item.label]


def test_pairs_differ_in_one_place_and_the_true_one_stands_in_the_text() -> None:
    whole = corpus()
    prose = " ".join(" ".join(whole["prose"]).split())
    grammar = list(grammar_pairs(whole["prose"], random.Random(0)))[:200]
    assert len(grammar) == 200
    for pair in grammar:
        assert pair.choices[0] != pair.choices[1] and truth(pair) in prose
    code = list(code_keyword_pairs(whole["code"], random.Random(0)))[:100]
    assert len(code) == 100
    for pair in code:
        right, wrong = pair.choices[pair.label], pair.choices[1 - pair.label]
        assert any(truth(pair) in text for text in whole["code"])
        assert right.split() != wrong.split() and "\n" not in right


def test_true_choice_stands_first_about_as_often_as_second() -> None:
    labels = [pair.label for pair in grammar_pairs(corpus()["prose"], random.Random(0))][:400]
    assert 150 < sum(labels) < 250


@pytest.mark.parametrize(("build", "source"), [(grammar_pairs, "prose"), (code_keyword_pairs, "code")])
def test_frequency_of_words_alone_tells_nothing(build, source: str) -> None:
    texts = corpus()[source]
    counts = Counter(word for text in texts for word in re.findall(r"\w+", text))

    def likelihood(choice: str) -> float:
        return sum(math.log(counts[word] + 1) for word in re.findall(r"\w+", choice))

    pairs = list(build(texts, random.Random(0)))[:300]
    points = 0.0
    for pair in pairs:
        right, wrong = likelihood(pair.choices[pair.label]), likelihood(pair.choices[1 - pair.label])
        points += 0.5 if math.isclose(right, wrong) else float(right > wrong)
    assert len(pairs) >= 200 and 0.42 < points / len(pairs) < 0.58


def test_item_that_shares_thirteen_words_with_training_text_is_found() -> None:
    inside = f"before. {SENTENCE.upper().replace(' ', ', ')} after"
    twelve = " ".join(SENTENCE.split()[:12])
    assert contaminated([SENTENCE, "a short one"], ["nothing alike", inside], 13) == [True, False]
    assert contaminated([SENTENCE], [twelve + " and then something else entirely"], 13) == [False]
    assert contaminated([SENTENCE], [inside], None) == [False]


def test_contaminated_items_are_dropped_and_counted(tmp_path) -> None:
    prose = corpus()["prose"]
    write_curated(tmp_path, "heldout", {"prose": prose[::2]})
    write_curated(tmp_path, "train", {"prose": prose[1::2]})
    config = EvaluationConfig.parse({"tasks": ["grammar_pairs"], "items": 50})
    before = items.build(config, tmp_path, ["prose"])
    leaked = before.kept["grammar_pairs"][:20]
    leaked = [pair for pair in leaked if len(truth(pair).split()) >= 16]
    write_curated(tmp_path, "train", {"prose": [*prose[1::2], *[truth(pair) for pair in leaked]]})
    after = items.build(config, tmp_path, ["prose"])
    assert leaked and after.dropped["grammar_pairs"] == before.dropped["grammar_pairs"] + len(leaked)
    assert not set(leaked) & set(after.kept["grammar_pairs"])


def test_task_without_text_to_build_it_from_is_left_out_and_says_so(tmp_path) -> None:
    prose = corpus()["prose"]
    write_curated(tmp_path, "heldout", {"prose": prose})
    write_curated(tmp_path, "train", {"prose": ["nothing of it"]})
    built = items.build(EvaluationConfig(tasks=PAIRS), tmp_path, ["prose"])
    assert list(built.kept) == ["grammar_pairs"] and "code" in built.left_out["code_keyword_pairs"]


def test_same_seed_builds_the_same_items(line) -> None:
    one, two, other = (items.build(EvaluationConfig(seed=seed, items=20), line.curate, ["prose", "code"]).kept for seed in (1, 1, 2))
    assert one == two and {len(own) for own in one.values()} == {20}
    assert all(one[task] != other[task] for task in one) and {*PAIRS, "copying", "recall_192"} <= set(one)


def test_generated_task_that_does_not_fit_the_window_is_left_out_and_says_so(line) -> None:
    config = EvaluationConfig(items=10, tasks=["recall_32", "recall_192", "code_keyword_pairs"])
    built = items.build(config, line.curate, ["prose", "code"])
    items.leave_out_longer(built, TextTokenizer(line.model / "model"), 128)
    assert set(built.kept) == {"recall_32", "code_keyword_pairs"} and "the model sees 128" in built.left_out["recall_192"]
