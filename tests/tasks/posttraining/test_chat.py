"""The stage `chat`: every kind of source in one form, linted, and cleared of what is held out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from contracts.errors import ConfigError, InputError
from tasks.data import heldout, heldout_items, items_in
from tasks.data.documents import Document, DocumentWriter
from tasks.posttraining import chat_data_problems, chat_request, chat_snapshot
from tasks.posttraining.chat import chat
from tasks.posttraining.config import ChatSource, PostTrainingConfig
from tasks.posttraining.sft_rows import source_file
from tests.tasks.data.material import silent
from tests.tasks.posttraining.material import ask, say, system, write_lines

SUM = [ask("What is 12+34?"), say("The answer is 46.")]


def source(name: str, uri: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "uri": uri, **more}


def run(folder: Path, out: Path, *sources: dict[str, Any], holds: str = "conversations", curate: Path | None = None, **more: Any) -> Any:
    step = {"stage": "sft-main", "holds": holds, "sources": list(sources)}
    inputs = {"model": folder} | ({"curate": curate} if curate else {})
    out.mkdir(exist_ok=True)
    return chat({"template": {"kind": "smollm3"}, "steps": [step], **more}, inputs, out, silent).evidence


def rows(out: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "sft-main" / f"{name}.jsonl").read_text().splitlines()]


def test_generated_sources_ask_the_same_questions_in_both_modes_and_no_heldout_one(folder: Path, tmp_path: Path) -> None:
    both = [source(f"add-{mode}", "generated:add", mode=mode, examples=60) for mode in ("think", "no_think")]
    evidence = run(folder, tmp_path / "out", *both)
    thought, plain = rows(tmp_path / "out", "add-think"), rows(tmp_path / "out", "add-no_think")
    assert len(thought) == len(plain) == 60
    assert [row["messages"][1] for row in thought] == [row["messages"][1] for row in plain]
    assert thought[0]["messages"][0] == {"role": "system", "content": "/think"}
    assert thought[0]["messages"][2]["content"].endswith(f"</think>\nThe answer is {thought[0]['answer']}.")
    asked = [item for row in thought for item in items_in(row["messages"][1]["content"])]
    assert len(asked) == 60 and not any(map(heldout, asked))
    lint = evidence["steps"]["sft-main"]["lint"]
    assert chat_data_problems(evidence) == [] and lint["paired"] == lint["prompts"]
    assert json.loads((tmp_path / "out" / "sft-main" / "lint.json").read_text()) == lint


@pytest.mark.parametrize("question", ["What is {a}+{b}?", "Please work out {a} + {b}, briefly.", "{b}+{a}"])
def test_a_heldout_item_in_other_words_is_dropped(folder: Path, tmp_path: Path, question: str) -> None:
    a, b = heldout_items("add", 1, seed=5, side="test")[0].question[8:-1].split("+")
    file = write_lines(tmp_path / "set.jsonl", [{"messages": SUM}, {"messages": [ask(question.format(a=a, b=b)), say("I know.")]}])
    row = run(folder, tmp_path / "out", source("set", str(file)))["steps"]["sft-main"]["sources"]["set"]
    assert (row["rows"], row["kept"], row["dropped"]) == (2, 1, {"heldout_item": 1})
    assert row["examples"] == [{"reason": "heldout_item", "where": "set.jsonl:2"}]


def test_text_that_is_held_out_is_dropped(folder: Path, tmp_path: Path) -> None:
    words = " ".join(f"word{n}" for n in range(20))
    with DocumentWriter(tmp_path / "curate" / "heldout", "prose") as writer:
        writer.add(Document("prose/1", f"Before. {words}. After.", "prose", "", "1"))
    thought = say(f"<think>\n{words}\n</think>\nDone.")
    file = write_lines(tmp_path / "set.jsonl", [{"messages": SUM}, {"messages": [ask("Why? /think"), thought]}])
    for n, dropped in ((13, {"heldout_text": 1}), (0, {})):
        evidence = run(folder, tmp_path / f"out{n}", source("set", str(file)), curate=tmp_path / "curate", contamination_ngram=n)
        assert evidence["steps"]["sft-main"]["sources"]["set"]["dropped"] == dropped


def test_a_source_made_of_heldout_items_is_refused_by_the_gate(folder: Path, tmp_path: Path) -> None:
    bad = [{"messages": [ask(item.question), say(item.said)]} for item in heldout_items("add", 3, 0)]
    file = write_lines(tmp_path / "set.jsonl", [{"messages": SUM}, *bad])
    (line,) = chat_data_problems(run(folder, tmp_path / "out", source("set", str(file))))
    assert line == "sft-main: 3 of 4 rows of set give away what is held out; take another source"


def test_nothing_left_is_refused(folder: Path, tmp_path: Path) -> None:
    item = heldout_items("add", 1, 0)[0]
    file = write_lines(tmp_path / "set.jsonl", [{"messages": [ask(item.question), say(item.said)]}])
    with pytest.raises(InputError, match="nothing is left of 1 rows"):
        run(folder, tmp_path / "out", source("set", str(file)))


def test_parquet_nulls_do_not_hide_the_system_prompt(folder: Path, tmp_path: Path) -> None:
    """The bug that emptied every system prompt of SmolLM3's data: a key that one row has, and the others have as null."""
    table = [
        {"messages": [system("Be brief."), *SUM], "chat_template_kwargs": {"custom_instructions": None, "enable_thinking": False}},
        {"messages": SUM, "chat_template_kwargs": {"custom_instructions": "Be kind.", "enable_thinking": None}},
    ]
    pq.write_table(pa.Table.from_pylist(table), tmp_path / "set.parquet")
    evidence = run(folder, tmp_path / "out", source("set", str(tmp_path / "set.parquet")))
    lint = evidence["steps"]["sft-main"]["lint"]
    assert (lint["system_wanted"], lint["system_kept"]) == (2, 2) and chat_data_problems(evidence) == []
    kept = rows(tmp_path / "out", "set")
    assert [row["chat_template_kwargs"] for row in kept] == [
        {"enable_thinking": False},
        {"custom_instructions": "Be kind.", "enable_thinking": False},
    ]


def test_broken_rows_reach_the_gate(folder: Path, tmp_path: Path) -> None:
    broken = [{"messages": [ask("Why?"), say("")]}, {"messages": [ask("And? /no_think"), say("<think>\nHm.\n</think>\nSo.")]}]
    file = write_lines(tmp_path / "set.jsonl", [{"messages": SUM}, *broken])
    problems = chat_data_problems(run(folder, tmp_path / "out", source("set", str(file))))
    assert [line.split(": ")[1] for line in problems] == ["empty_answer", "mode_contradiction"]


PROMPT = [ask("Why?")]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": PROMPT, "chosen": [say("Yes.")], "rejected": [say("No.")]},
        {"prompt": "Why?", "chosen": "Yes.", "rejected": "No."},
        {"chosen": [*PROMPT, say("Yes.")], "rejected": [*PROMPT, say("No.")]},
        {"prompt": PROMPT, "chosen": [*PROMPT, say("Yes.")], "rejected": [*PROMPT, say("No.")]},
        {"prompt": "Why?", "strong": "Yes.", "weak": "No."},
    ],
)
def test_pairs_come_in_many_columns_and_leave_in_one_form(folder: Path, tmp_path: Path, row: dict[str, Any]) -> None:
    file = write_lines(tmp_path / "set.jsonl", [row])
    run(folder, tmp_path / "out", source("set", str(file)), holds="pairs")
    assert rows(tmp_path / "out", "set") == [
        {"prompt": PROMPT, "chosen": [say("Yes.")], "rejected": [say("No.")], "chat_template_kwargs": {"enable_thinking": False}}
    ]


def test_pairs_that_prefer_nothing_are_dropped_and_a_set_of_them_is_refused(folder: Path, tmp_path: Path) -> None:
    same, good = {"prompt": "Why?", "chosen": "Yes.", "rejected": "Yes."}, {"prompt": "Why?", "chosen": "Yes.", "rejected": "No."}
    file = write_lines(tmp_path / "set.jsonl", [good, same, same])
    (line,) = chat_data_problems(run(folder, tmp_path / "out", source("set", str(file)), holds="pairs"))
    assert "2 of 3 rows of set prefer nothing" in line
    file = write_lines(tmp_path / "same.jsonl", [same])
    with pytest.raises(InputError, match="1 identical_pair dropped"):
        run(folder, tmp_path / "out2", source("set", str(file)), holds="pairs")


def test_a_url_is_read_through_fsspec(folder: Path, tmp_path: Path) -> None:
    with fsspec.open("memory://chat-data/set.jsonl", "w") as file:
        file.write(json.dumps({"messages": SUM}) + "\n")
    run(folder, tmp_path / "out", source("set", "memory://chat-data/set.jsonl"))
    assert rows(tmp_path / "out", "set")[0]["messages"] == SUM


def test_a_data_set_is_read_through_datasets(folder: Path, tmp_path: Path) -> None:
    """From a local copy; a name of the Hub takes the same way."""
    (tmp_path / "data").mkdir()
    pq.write_table(pa.Table.from_pylist([{"messages": SUM}, {"messages": SUM}]), tmp_path / "data" / "train-00000.parquet")
    run(folder, tmp_path / "out", source("set", f"hf:{tmp_path / 'data'}@v1"))
    assert [row["messages"] for row in rows(tmp_path / "out", "set")] == [SUM, SUM]
    with pytest.raises(InputError, match="the data set cannot be read"):
        run(folder, tmp_path / "out2", source("set", f"hf:{tmp_path / 'data'}@v1", split="nothing"))


@pytest.mark.parametrize(
    ("one", "error", "said"),
    [
        (source("set", "generated:add"), ConfigError, "needs `examples`"),
        (source("set", "generated:ad", examples=3), ConfigError, "no generated skill 'ad'"),
        (source("set", "hf:owner/data"), ConfigError, "without a revision"),
        (source("set", "no/such/place"), InputError, "no chat data here"),
        (source("set", "memory://no-such-place/x.jsonl"), InputError, "the URL cannot be read"),
    ],
)
def test_sources_that_cannot_be_used_are_refused(
    folder: Path, tmp_path: Path, one: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        run(folder, tmp_path / "out", one)


@pytest.mark.parametrize(
    ("row", "holds", "said"),
    [
        ({"text": "x"}, "conversations", "no column 'messages'"),
        ({"prompt": "Why?", "chosen": "Yes."}, "pairs", "without rejected answer"),
        ({"messages": SUM, "chat_template_kwargs": 3}, "conversations", "is not an object"),
        ({"prompt": "Why?", "chosen": 3, "rejected": "No."}, "pairs", "neither text nor messages"),
    ],
)
def test_rows_in_another_form_are_refused_by_line(folder: Path, tmp_path: Path, row: dict[str, Any], holds: str, said: str) -> None:
    file = write_lines(tmp_path / "set.jsonl", [row])
    with pytest.raises(InputError, match=said) as refusal:
        run(folder, tmp_path / "out", source("set", str(file)), holds=holds)
    assert "set.jsonl:1" in str(refusal.value)


def test_a_recipe_says_what_each_step_needs() -> None:
    add = {"name": "add", "uri": "generated:add", "examples": 8}
    config = PostTrainingConfig.parse(
        {
            "sft": [{"sources": [add], "max_length": 64}],
            "preference": [{"name": "made", "sources": [add], "pairs": {}}, {"name": "given", "sources": [add]}],
            "reinforcement": [{"prompts": [add], "seed": 3}],
            "distillation": [{"prompts": [add], "teacher": "sft-main"}],
        }
    )
    steps = {step.stage: step for step in chat_request(config).steps}
    assert {name: step.holds for name, step in steps.items()} == {
        "sft-main": "conversations", "preference-made": "prompts", "preference-given": "pairs", "reinforcement-main": "prompts",
        "distillation-main": "questions",
    }  # fmt: skip
    assert steps["sft-main"].length == 64 and steps["reinforcement-main"].seed == 3


def test_bare_questions_will_do_where_nobody_checks_the_answer(folder: Path, tmp_path: Path) -> None:
    """Of a distillation: the linter looks at them with a stand-in for the reply, which is not written."""
    file = write_lines(tmp_path / "set.jsonl", [{"messages": [ask(f"Why is {n} odd?")]} for n in range(1, 20, 2)])
    evidence = run(folder, tmp_path / "out", source("set", str(file)), holds="questions")
    assert chat_data_problems(evidence) == []
    assert [message["role"] for message in rows(tmp_path / "out", "set")[0]["messages"]] == ["user"]


def test_a_snapshot_follows_content(tmp_path: Path) -> None:
    def seen(uri: str) -> str:
        return chat_snapshot([ChatSource(name="set", uri=uri, examples=3)])

    file = write_lines(tmp_path / "set.jsonl", [{"messages": SUM}])
    before = seen(str(file))
    assert seen(str(file)) == before and len({before, seen("generated:add"), seen("hf:a/b@1"), seen("hf:a/b@2")}) == 4
    write_lines(file, [{"messages": SUM}, {"messages": SUM}])
    assert seen(str(file)) != before


def test_training_stages_find_their_sources(folder: Path, tmp_path: Path) -> None:
    """The artifact is what reinforcement and fine-tuning read."""
    run(folder, tmp_path / "out", source("add", "generated:add", mode="think", examples=40))
    assert source_file(tmp_path / "out", "sft-main", ChatSource(name="add", uri="generated:add")).is_file()
