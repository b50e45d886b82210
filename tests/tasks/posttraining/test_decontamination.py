"""Items of evaluation tasks in chat data: planted in a turn, and good rows that share nothing but a task's wording."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from contracts.errors import InputError
from tasks.data import heldout_items
from tasks.evaluation import Question, questions_of
from tasks.evaluation.config import SuiteTask, named_task
from tasks.posttraining import chat_data_problems
from tasks.posttraining.chat import chat
from tasks.posttraining.decontamination import Decontamination, Shared
from tests.tasks.data.material import silent
from tests.tasks.posttraining.material import ask, sample, say, write_lines

GOOD = [ask("Remember this: lamp = 417, rope = 322. What was lamp?"), say("lamp = 417")]
TASKS = {name: {"suite": "offline", "version": 1, "items": 20} for name in ("copying", "recall_32", "arithmetic_with_carry")}


@pytest.fixture(scope="module")
def planted(folder: Path) -> dict[str, list[Question]]:
    """Items of the tasks, as the measurements ask them."""
    tasks = {name: named_task(name).model_copy(update={"items": 20}) for name in TASKS}
    return questions_of(tasks, folder, None, seed=0)


def run(folder: Path, tmp_path: Path, rows: list[Any], **more: Any) -> dict[str, Any]:
    file = write_lines(tmp_path / "set.jsonl", rows)
    step = {"stage": "sft-main", "holds": "conversations", "sources": [{"name": "set", "uri": str(file)}]}
    out = tmp_path / "out"
    out.mkdir()
    return chat({"template": {"kind": "smollm3"}, "steps": [step], "tasks": TASKS, **more}, {"model": folder}, out, silent).evidence


def test_items_in_turns_are_dropped_and_counted_by_source_and_by_task(
    folder: Path, tmp_path: Path, planted: dict[str, list[Question]]
) -> None:
    """One known by a run of 13 words, and one of nine words known by all of them, its answer elsewhere; both of the second measurement."""
    long, short = planted["copying"][1], planted["recall_32"][3]
    rows = [
        {"messages": GOOD},
        {"messages": [ask("Go on, please."), say(f"Sure: {long.text.upper()} ... and so on.")]},
        {"messages": [ask(f"Here are lines:\n{short.text}"), say(f"I look it up. The answer is {short.answer}.")]},
        {"messages": [ask("What is 12 plus 13?"), say("25.")]},
    ]
    evidence = run(folder, tmp_path, rows)
    row = evidence["steps"]["sft-main"]["sources"]["set"]
    assert (row["rows"], row["kept"], row["dropped"]) == (4, 2, {"task_item": 2})
    assert row["tasks"] == {"copying": 1, "recall_32": 1}
    assert row["examples"] == [{"reason": "task_item", "where": "set.jsonl:2", "tasks": "copying"}]
    assert evidence["decontamination"] == {
        "ngram": 13,
        "tasks": {
            "copying": {"items": 40, "not_checked": 0, "rows": 1},
            "recall_32": {"items": 40, "not_checked": 0, "rows": 1},
            "arithmetic_with_carry": {"items": 40, "not_checked": 40, "rows": 0},  # three numbers are nobody's
        },
    }


def test_a_source_made_of_task_items_is_refused_by_the_gate(folder: Path, tmp_path: Path, planted: dict[str, list[Question]]) -> None:
    """Items of tasks and of skills together, of which neither is half of it."""
    sums = [{"messages": [ask(item.question), say(item.said)]} for item in heldout_items("add", 2, seed=0)]
    asked = [{"messages": [ask(one.text), say(one.answer)]} for one in planted["recall_32"][:2]]
    (line,) = chat_data_problems(run(folder, tmp_path, [{"messages": GOOD}, *sums, *asked]))
    assert line == "sft-main: 4 of 5 rows of set give away what is held out; take another source"


def test_without_the_comparison_nothing_is_looked_for(folder: Path, tmp_path: Path, planted: dict[str, list[Question]]) -> None:
    evidence = run(folder, tmp_path, [{"messages": [ask(planted["recall_32"][0].text), say("417")]}], contamination_ngram=0, tasks={})
    assert evidence["decontamination"] == {"ngram": 0, "tasks": {}} and evidence["steps"]["sft-main"]["sources"]["set"]["kept"] == 1


def test_a_task_without_items_is_refused_before_any_row_is_read(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing was run: grammar_pairs"):
        run(folder, tmp_path, ["no row at all"], tasks={"grammar_pairs": {"suite": "offline", "version": 1}})


INSTRUCTION = "Read the passage with great care, think of every way in which it may be read, then answer in one short line."
DESCRIPTION = "Known to every child in this town and the next one over the hill."
TOWNS = ("Arles", "Bergen", "Cork", "Delft", "Essen", "Faro", "Genoa", "Halle", "Imola", "Jena")
LONG = "Who of the many that crossed the bridge of {} in the rain of that long spring came back alone?"


@pytest.fixture(scope="module")
def written(folder: Path) -> Decontamination:
    """A task of lm-eval's, its data at hand: an instruction around every question, questions long and short."""

    def build(**_: Any) -> Any:
        from datasets import Dataset

        asks = [LONG.format(town) for town in TOWNS] + [f"Which river runs through {town}?" for town in TOWNS]
        said = [f"nobody but the miller of {town} and then his dog two years after him, as people tell it" for town in TOWNS]
        rows = [{"ask": text, "said": answer} for text, answer in zip(asks, [*said, *["a river"] * len(TOWNS)], strict=True)]
        return {"test": Dataset.from_list(rows)}

    config = {
        "custom_dataset": build, "test_split": "test", "output_type": "generate_until", "doc_to_target": "{{said}}",
        "doc_to_text": f"Question: {{{{ask}}}}\n{INSTRUCTION}\nAnswer:", "description": DESCRIPTION,
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
        "generation_kwargs": {"until": ["\n"], "max_gen_toks": 8, "do_sample": False},
    }  # fmt: skip
    task = SuiteTask(harness={"generation": config}, formulation="generation", metric="exact_match")
    return Decontamination([], 13, questions_of({"rivers": task}, folder, None, seed=0))


@pytest.mark.parametrize(
    ("text", "given"),
    [
        (LONG.format("Cork"), True),
        ("So I asked: which river runs through Cork? Nobody knew.", True),
        ("nobody but the miller of Genoa and then his dog two years after him, as people tell it", True),
        (f"Question: Who is it?\n{INSTRUCTION}\nAnswer: me", False),  # the wording of every item
        (f"{DESCRIPTION} Question:", False),
        ("Which river runs through Prague?", False),
        (LONG.format("Prague")[:60], False),
    ],
)
def test_a_benchmark_is_known_by_its_items_and_not_by_its_wording(written: Decontamination, text: str, given: bool) -> None:
    found = written.shared([sample(ask("Hm?"), say(text))])
    assert found == (Shared("task_item", ("rivers",)) if given else None)
