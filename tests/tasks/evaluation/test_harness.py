"""lm-eval over our models: the numbers of its own Hugging Face adapter, every formulation, several samples, and what is refused."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest

from contracts.errors import ConfigError, InputError
from tasks.evaluation import harness, sampling, transformers_model
from tasks.evaluation.adapter import Adapter
from tasks.evaluation.compression import model_bits
from tasks.evaluation.config import SamplingConfig
from tasks.evaluation.generation import Sampling, plain_writer
from tasks.evaluation.offline import GENERATORS
from tasks.evaluation.offline_item import Item
from tasks.evaluation.pairs import code_keyword_pairs, grammar_pairs
from tasks.evaluation.scores import Answered
from tasks.evaluation.suites import SuiteTask
from tests.tasks.evaluation.material import corpus, train_tokenizer, write_model

HOW = harness.How(batch_size=8, seed=0)
PAIR = SuiteTask(source="heldout", metric="acc")


@pytest.fixture(scope="module")
def loaded(line):
    return transformers_model.load(line.model / "model", "float32")


@pytest.fixture(scope="module")
def library(line):
    """lm-eval's own adapter around the same model."""
    import torch
    from lm_eval.models.huggingface import HFLM
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = line.model / "model"
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return HFLM(pretrained=model, tokenizer=AutoTokenizer.from_pretrained(folder), batch_size=8, max_length=128, device="cpu")


def asked(kind: str, *rows: tuple) -> list:
    from lm_eval.api.instance import Instance

    return [Instance(kind, {}, row, number) for number, row in enumerate(rows)]


def answer(loaded, task: SuiteTask, items: list[Item], how: harness.How = HOW) -> Answered:
    return harness.run(loaded, {"it": harness.from_items("it", task, items)}, how)["it"]


def pairs(build, source: str, number: int) -> list[Item]:
    return list(islice(build(corpus()[source], random.Random(0)), number))


def test_log_likelihoods_are_those_of_lm_evals_own_adapter(loaded, library) -> None:
    items = pairs(code_keyword_pairs, "code", 12) + pairs(grammar_pairs, "prose", 12) + list(GENERATORS["recall_64"](random.Random(0), 8))
    rows = [(item.context, choice) for item in items for choice in item.choices]
    rows += [("ends in blanks  \n", "and goes on"), ("", "no context"), ("word " * 400, "beyond the window")]
    ours, theirs = (lm.loglikelihood(asked("loglikelihood", *rows), disable_tqdm=True) for lm in (Adapter(loaded, 8), library))
    assert [value for value, _ in ours] == pytest.approx([value for value, _ in theirs], rel=1e-5)
    assert [greedy for _, greedy in ours] == [greedy for _, greedy in theirs]


def test_rolling_log_likelihoods_are_those_of_lm_evals_own_adapter(loaded, library) -> None:
    texts = [(corpus()["prose"][3][:3000],), ("short",), (corpus()["code"][0][:900],)]
    ours, theirs = (
        lm.loglikelihood_rolling(asked("loglikelihood_rolling", *texts), disable_tqdm=True) for lm in (Adapter(loaded, 8), library)
    )
    assert ours == pytest.approx(theirs, rel=1e-5)


def test_greedy_answers_are_those_of_lm_evals_own_adapter(loaded, library) -> None:
    settings = {"until": ["e"], "max_gen_toks": 12, "do_sample": False, "temperature": 0.0}
    rows = [(text[:80], dict(settings)) for text in corpus()["prose"][:5]]
    ours, theirs = (lm.generate_until(asked("generate_until", *rows), disable_tqdm=True) for lm in (Adapter(loaded, 8), library))
    assert ours == theirs and all("e" not in text for text in ours)


def test_repeating_the_forward_pass_writes_what_the_library_writes(loaded) -> None:
    prompts = [loaded.tokenizer.encode(text[:60]) for text in corpus()["prose"][:3]]
    how = Sampling(new_tokens=10)
    plain = replace(loaded, write=plain_writer(loaded.logits))
    assert plain.generate(prompts, how, 3) == loaded.generate(prompts, how, 3)


def test_lm_eval_ranks_grammar_pairs_as_a_plain_loop_does(loaded) -> None:
    items = pairs(grammar_pairs, "prose", 40)
    result = answer(loaded, PAIR, items)
    for item, right in zip(items, result.right, strict=True):
        encoded = [[loaded.tokenizer.end, *loaded.tokenizer.encode(choice)] for choice in item.choices]
        bits = model_bits(loaded, encoded, window=128, batch_size=2, tick=lambda done, total: None)
        assert right == float(bits.argmin() == item.label)


def test_character_normalised_cloze_prefers_the_likelier_character(loaded) -> None:
    item = Item("The import statement", (" is", " is a statement that binds a name in the local namespace of the module"), 0)
    values = Adapter(loaded, 2).loglikelihood(asked("loglikelihood", *[(item.context, choice) for choice in item.choices]))
    plain = values[0][0] > values[1][0]
    normalised = values[0][0] / len(item.choices[0]) > values[1][0] / len(item.choices[1])
    found = [answer(loaded, SuiteTask(source="heldout", metric=metric), [item]).right[0] for metric in ("acc", "acc_norm")]
    assert found == [float(plain), float(normalised)]


@pytest.mark.parametrize(("formulation", "metric"), [("cloze", "acc_norm"), ("multiple_choice", "acc"), ("generation", "exact_match")])
def test_every_formulation_is_answered_and_recorded(loaded, formulation: str, metric: str) -> None:
    task = SuiteTask(source="generated").put_as(formulation)
    found = answer(loaded, task, list(GENERATORS["copying"](random.Random(0), 12)))
    assert (found.formulation, found.metric, found.generative) == (formulation, metric, formulation == "generation")
    assert found.chance == (0.0 if formulation == "generation" else 0.25) and len(found.right) == 12


def test_letters_are_ranked_where_the_choices_stand_in_the_prompt(loaded) -> None:
    item = Item("Which is a keyword?", (" lambda", " lambada"), 0)
    prompt = "Which is a keyword?\nA. lambda\nB. lambada\nAnswer:"
    values = Adapter(loaded, 2).loglikelihood(asked("loglikelihood", (prompt, " A"), (prompt, " B")))
    assert answer(loaded, SuiteTask(source="generated").put_as("multiple_choice"), [item]).right == [float(values[0][0] > values[1][0])]


def test_written_answer_is_right_when_it_is_the_true_choice(loaded) -> None:
    prompt = corpus()["prose"][0][:60]
    (written,) = loaded.generate([loaded.tokenizer.encode(prompt)], Sampling(new_tokens=6, until=("\n",)), 1)
    truth = Item(prompt, (written, "something else"), 0)
    task = SuiteTask(source="generated").put_as("generation")
    # it may write on after the true choice, up to the tokens that the answer is given
    assert answer(loaded, task, [replace(truth, label=1)]).right == [0.0]
    (longer,) = loaded.generate([loaded.tokenizer.encode(prompt)], Sampling(new_tokens=len(written) + 2, until=("\n",)), 1)
    assert answer(loaded, task, [truth]).right == [float(longer.strip() == written.strip())]


def test_several_samples_are_averaged_by_item(loaded) -> None:
    items = list(GENERATORS["copying"](random.Random(0), 6))
    task = SuiteTask(source="generated").put_as("generation").model_copy(update={"samples": 3})
    found = answer(loaded, task, items)
    assert found.samples == 3 and len(found.right) == 6 and found.decoding == {"temperature": 0.6, "top_p": 0.95}
    assert len(found.items) == len(set(found.items))


def test_other_items_have_another_digest(loaded) -> None:
    items = pairs(code_keyword_pairs, "code", 4)
    flipped = [*items[:3], replace(items[3], label=1 - items[3].label)]
    one, other = (answer(loaded, PAIR, own) for own in (items, flipped))
    assert abs(sum(one.right) - sum(other.right)) == 1
    assert one.prompts != other.prompts and one.items[:3] == other.items[:3]


def local_task(folder: Path, **more: object) -> SuiteTask:
    rows = [{"question": f"{n} and {n} make", "options": [f" {2 * n}", f" {2 * n + 1}"], "answer": 0} for n in range(30)]
    for split in ("test", "examples"):
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row | {"question": f"{split} {row['question']}"}) + "\n" for row in rows))
    config = {
        "dataset_path": "json", "dataset_kwargs": {"data_files": {s: str(folder / f"{s}.jsonl") for s in ("test", "examples")}},
        "test_split": "test", "fewshot_split": "examples", "output_type": "multiple_choice", "doc_to_text": "{{question}}",
        "doc_to_choice": "options", "doc_to_target": "answer", "target_delimiter": "",
    }  # fmt: skip
    return SuiteTask(harness={"cloze": config}, **more)


def reach(tasks: dict[str, SuiteTask], limit: int | None = None, code: bool = False) -> dict[str, harness.Prepared]:
    return harness.from_harness(tasks, limit=limit, seed=0, run_generated_code=code)


@pytest.mark.slow  # lm-eval indexes all its tasks
def test_lm_evals_own_task_runs_with_the_first_examples_in_order_and_seeded_items(loaded, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    prepared = reach({"sums": local_task(tmp_path, few_shot=2)}, limit=10)
    found = harness.run(loaded, prepared, HOW)["sums"]
    assert found.few_shot == ["examples/0", "examples/1"] and len(found.right) == 10 and found.chance == 0.5
    again = harness.run(loaded, reach({"sums": local_task(tmp_path, few_shot=2)}, limit=10), HOW)["sums"]
    assert again == found
    other = harness.run(loaded, reach({"sums": local_task(tmp_path, few_shot=1)}, limit=10), HOW)["sums"]
    assert other.prompts != found.prompts


@pytest.mark.slow
def test_tasks_whose_data_cannot_be_reached_are_all_named_at_once(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    gone = SuiteTask(harness={"cloze": {"dataset_path": str(tmp_path / "nowhere"), "output_type": "multiple_choice", "test_split": "test"}})
    unknown = SuiteTask(harness={"cloze": "no_such_task"})
    with pytest.raises(InputError, match=r"nothing was run: 2 of 3 tasks cannot be reached: gone \(.*; unknown \("):
        reach({"there": local_task(tmp_path), "gone": gone, "unknown": unknown})


def test_task_that_runs_generated_code_is_refused_unless_allowed() -> None:
    task = SuiteTask(harness={"generation": "humaneval"}, formulation="generation", runs_code=True)
    with pytest.raises(ConfigError, match="would run here what the model writes"):
        reach({"humaneval": task})


def test_same_seed_writes_the_same_sample(loaded) -> None:
    texts = {"prose": corpus()["prose"][:3]}
    wanted = SamplingConfig(prompts=2, new_tokens=12)
    one, two, other = (sampling.generate(loaded, texts, wanted, seed) for seed in (1, 1, 2))
    assert one == two and one != other and len(one) == 2
    assert texts["prose"][0].startswith(one[0].prompt)


def test_tokenizer_without_end_of_document_is_refused(tmp_path) -> None:
    tokenizer = train_tokenizer(corpus()["prose"][:2])
    tokenizer.add_special_tokens({"eos_token": "<stop>"})
    write_model(tmp_path, tokenizer)
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    named = (tmp_path / "tokenizer.json").read_text().replace("<|endoftext|>", "<|nothing|>")
    (tmp_path / "tokenizer.json").write_text(named)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({key: value for key, value in settings.items() if key != "eos_token"}))
    with pytest.raises(InputError, match="ends a document"):
        transformers_model.load(tmp_path, "float32")
