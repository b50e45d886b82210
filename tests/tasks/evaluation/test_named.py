"""Tasks of any suite by name: their items, those kept for a second measurement, conversations, and what cannot be asked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from contracts.errors import InputError
from tasks.evaluation import Chat, NamedTasks, model_for_tasks
from tasks.evaluation.chat import Message
from tasks.evaluation.config import SuiteTask, named_task
from tasks.evaluation.generation import Sampling


def told(history: Sequence[Message]) -> str:
    return "".join(f"<{one['role']}>{one['content']}" for one in history) + "<assistant>"


def chat(**more: Any) -> Chat:
    return Chat(prompt=told, scored=lambda reply: reply.rpartition("</think>")[2], end=0, **more)


def test_the_first_suite_that_has_a_task_says_how_it_is_asked() -> None:
    assert named_task("mmlu").items == 1000 and named_task("boolq").metric == "acc" and named_task("recall_192").recall == 192
    assert named_task("ruler").generative and named_task("ruler").recall > 60_000
    with pytest.raises(ValueError, match="did you mean 'gpqa_diamond'"):
        named_task("gpqa_diamond_zeroshot")
    with pytest.raises(ValueError, match=r"no suite has the task 'bfcl' \(calls functions in its own harness\)"):
        named_task("bfcl")


def asked(tasks: NamedTasks) -> dict[str, list[str]]:
    return {name: [doc["context"] for doc in one.parts[name].eval_docs] for name, one in tasks.prepared.items()}


def test_a_second_measurement_shares_no_item_with_the_first_and_each_is_the_same_every_time(line: Any) -> None:
    tasks = {name: named_task(name) for name in ("recall_32", "grammar_pairs")}
    first, again, second = (
        asked(NamedTasks.prepare(tasks, line.model / "model", line.curate, limit=20, seed=0, second_half=half))
        for half in (False, False, True)
    )
    assert first == again and all(len(items) == 20 for one in (first, second) for items in one.values())
    assert not set(first["recall_32"]) & set(second["recall_32"])


def test_ranked_tasks_are_answered_as_in_the_stage_evaluate(line: Any) -> None:
    tasks = NamedTasks.prepare({"recall_32": named_task("recall_32")}, line.model / "model", None, limit=12, seed=0).drawn(0.6, 0.9)
    with model_for_tasks(line.model / "model", "auto", seed=0) as model:
        found = tasks.ask(model, ["recall_32"], batch_size=8, seed=0)["recall_32"]
        assert tasks.ask(model, [], batch_size=8, seed=0) == {}
    assert len(found.right) == 12 and found.chance == 0.25 and not found.generative and found.decoding == {}


@pytest.mark.parametrize(
    ("name", "curated", "said"),
    [("recall_192", True, "and the model sees 128"), ("grammar_pairs", False, "built from held-out text, and there is none")],
)
def test_what_cannot_be_asked_whole_is_said_before_anything_is(line: Any, name: str, curated: bool, said: str) -> None:
    with pytest.raises(InputError, match=f"nothing was run: {name} .*{said}"):
        NamedTasks.prepare({name: named_task(name)}, line.model / "model", line.curate if curated else None, limit=4, seed=0)


def needles(lengths: list[int]) -> SuiteTask:
    """A task as RULER's are: built by length for a tokenizer, with the beginning of the answer, and measured by length."""

    def build(tokenizer: str, max_seq_lengths: list[int], **_: Any) -> Any:
        from datasets import Dataset

        assert (Path(tokenizer) / "tokenizer.json").is_file()
        rows = [{"input": f"{n} of {length}", "outputs": "e", "max_length": length} for length in max_seq_lengths for n in range(3)]
        return {"test": Dataset.from_list(rows)}

    def score(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
        return {"4096": -1.0, str(doc["max_length"]): float(doc["outputs"] in results[0])}

    config = {
        "custom_dataset": build, "test_split": "test", "output_type": "generate_until", "doc_to_text": "{{input}}",
        "doc_to_target": "{{outputs}}", "gen_prefix": "The needle is", "process_results": score, "target_delimiter": " ",
        "metric_list": [{"metric": "4096", "aggregation": "mean", "higher_is_better": True}],
        "generation_kwargs": {"until": [], "max_gen_toks": 8, "do_sample": False},
    }  # fmt: skip
    return SuiteTask(harness={"generation": config}, formulation="generation", metric="by_length", lengths=lengths)


def test_items_of_a_length_are_built_for_the_model_and_asked_as_conversations(line: Any) -> None:
    folder, prompts = line.model / "model", list[str]()

    def prompt(history: Sequence[Message]) -> str:
        prompts.append(told(history))
        return prompts[-1]

    tasks = NamedTasks.prepare({"needles": needles([32, 64, 4096])}, folder, None, limit=None, seed=0).drawn(0.6, 0.9)
    with model_for_tasks(folder, "transformers", seed=0) as model:
        how = Chat(prompt=prompt, scored=str, end=model.tokenizer.end)
        found = tasks.ask(model, ["needles"], batch_size=8, seed=0, chat=how)["needles"]
    assert len(found.right) == 6 and min(found.right) >= 0 and found.decoding == {"temperature": 0.6, "top_p": 0.9}  # 4,096 are not seen
    assert prompts[0] == "<user>0 of 32<assistant>"
    with pytest.raises(InputError, match="items have 4,096 tokens and more, and the model sees 128"):
        NamedTasks.prepare({"needles": needles([4096])}, folder, None, limit=None, seed=0)


def test_a_task_may_begin_the_answer_unless_reasoning_comes_first() -> None:
    history = [{"role": "user", "content": "Where?"}, {"role": "assistant", "content": "It is"}]
    assert chat().ask(history, open_turn=False) == "<user>Where?<assistant>It is"
    assert chat(begins_answer=False).ask(history, open_turn=False) == chat().ask(history[:1], open_turn=True) == "<user>Where?<assistant>"


def test_reasoning_has_its_room_and_is_not_cut_by_what_ends_an_answer() -> None:
    how = chat(new_tokens=500).sampling(Sampling(new_tokens=16, until=("\n",)), prompt_tokens=100, window=400)
    assert (how.new_tokens, how.until, how.end) == (300, (), 0)
    assert chat().sampling(Sampling(new_tokens=16), prompt_tokens=100, window=400).new_tokens == 16
    assert chat().answer("a\nb\nThe answer\n</think>42\nQuestion: next", ("Question:", "\n")) == "42"
    with pytest.raises(InputError, match="leaves no room for an answer: the model sees 400"):
        chat().sampling(Sampling(new_tokens=16), prompt_tokens=400, window=400)
