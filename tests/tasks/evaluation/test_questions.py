"""What the items of tasks say: the very items that are asked, without the wording of their task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from contracts.errors import InputError
from tasks.evaluation import NamedTasks, Question, questions_of
from tasks.evaluation.config import SuiteTask, named_task
from tasks.evaluation.questions import without_frame
from tests.tasks.evaluation.test_named import asked, needles


def harness_task(*rows: dict[str, Any], **config: Any) -> SuiteTask:
    """A task in lm-eval's own format over these rows."""

    def build(**_: Any) -> Any:
        from datasets import Dataset

        return {"test": Dataset.from_list(list(rows))}

    whole = {"custom_dataset": build, "test_split": "test", "description": "Answer like a sage.\n\n", "target_delimiter": " "}
    return SuiteTask(harness={"cloze": {**whole, "output_type": "multiple_choice", **config}}, few_shot=1, items=1)


def questions(folder: Path, **tasks: SuiteTask) -> dict[str, list[Question]]:
    return questions_of(tasks, folder, None, seed=0)


def test_they_are_the_items_of_both_measurements(line: Any) -> None:
    names = ("recall_32", "copying", "grammar_pairs", "code_keyword_pairs")
    tasks = {name: named_task(name).model_copy(update={"items": 20}) for name in names}
    found = questions_of(tasks, line.model / "model", line.curate, seed=0)
    for half in (False, True):
        prepared = NamedTasks.prepare(tasks, line.model / "model", line.curate, limit=20, seed=0, second_half=half)
        for name, contexts in asked(prepared).items():
            docs = list(prepared.prepared[name].parts[name].eval_docs)
            true = [doc["context"] + doc["choices"][doc["label"]] for doc in docs]
            own = [one.text + one.answer for one in found[name]]
            assert len(contexts) == 20 and set(true) <= set(own), name
    assert len(found["recall_32"]) == 40 and found["recall_32"][0].answer.strip().isdigit()
    assert len(found["grammar_pairs"]) <= 60 and not any(one.answer for one in found["grammar_pairs"])


def test_of_lm_evals_tasks_every_item_without_worked_examples_description_and_frame(line: Any) -> None:
    rows = [{"ask": f"Why is {n} odd", "ways": ["it is", f"{n} is no sum of {n}"], "right": 1} for n in ("three", "five")]
    told = {"doc_to_text": "Question: {{ask}}?\nAnswer:", "doc_to_choice": "{{ways}}", "doc_to_target": "right"}
    # which sentence is true? a number is the question, as in Winogrande
    blank = {"doc_to_text": "{{right}}", "doc_to_choice": "{{ways}}", "doc_to_target": "{{ask}}"}
    found = questions(line.model / "model", plain=harness_task(*rows, **told), blank=harness_task(*rows, **blank))
    assert found["plain"] == [Question("three", "three is no sum of three"), Question("five", "five is no sum of five")]
    assert found["blank"] == [Question(f"{n} is no sum of {n}", f"Why is {n} odd") for n in ("three", "five")]


def test_the_frame_is_what_all_texts_share_in_whole_words() -> None:
    assert without_frame(["Question: Who was he?\nAnswer:", "Question: Where was it?\nAnswer:"]) == ["Who was he", "Where was it"]
    assert without_frame(["the same", "the same"]) == ["the same", "the same"]
    assert without_frame(["Q: a b", "Q: a b c"]) == ["Q: a b", "c"]
    lines = ["Yes or no\nWas he there?\nAnswer", "Yes or no\nDid it rain!\nAnswer"]
    assert without_frame(lines) == ["Was he there?", "Did it rain!"], "a word before a line end is whole"


def test_items_of_a_length_are_built_once_at_the_shortest(line: Any) -> None:
    found = questions(line.model / "model", needles=needles([4096, 32]))  # longer than the model sees does not matter here
    assert [one.text for one in found["needles"]] == ["0", "1", "2"] and {one.answer for one in found["needles"]} == {"e"}


def test_a_task_whose_data_cannot_be_had_is_refused(line: Any) -> None:
    with pytest.raises(InputError, match=r"nothing was run: grammar_pairs .*there is none"):
        questions(line.model / "model", grammar_pairs=named_task("grammar_pairs"))
    away = harness_task(custom_dataset=None, dataset_path="no-such-owner/no-such-set", doc_to_text="x", doc_to_choice="y", doc_to_target=0)
    with pytest.raises(InputError, match="1 of 1 tasks cannot be reached: away"):
        questions(line.model / "model", away=away)
