"""On-policy distillation: what it learns from, what it leaves, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from contracts.errors import ConfigError, InputError, ResourceError
from tasks.posttraining import Renderer
from tasks.posttraining.config import PostTrainingConfig
from tasks.posttraining.distillation_arguments import distillation
from tasks.posttraining.distillation_rows import Questions, questions_of
from tasks.posttraining.model_folder import load_renderer
from tasks.posttraining.trl_arguments import Ground
from tests.tasks.posttraining.lab import TEMPLATE, Lab, distillation_step, request_of, sums, weights
from tests.tasks.posttraining.material import ask, say, system, write_lines

CPU, GPU = Ground("cpu"), Ground("cuda", 8, deepspeed=True)


@pytest.fixture(scope="module")
def renderer(folder: Path) -> Renderer:
    """As the stage has it: a text ends where a turn ends."""
    return load_renderer(folder, TEMPLATE)


@pytest.fixture
def taught(lab: Lab, teacher: Path) -> Lab:
    """A lab with a teacher and 24 prompts."""
    return lab.taught(teacher)


def read(renderer: Renderer, folder: Path, rows: list[Any], context: int = 256, **changes: Any) -> Questions:
    """The questions of these rows."""
    (folder / "distillation-main").mkdir(exist_ok=True)
    write_lines(folder / "distillation-main" / "sums.jsonl", rows)
    return questions_of(distillation_step(**changes), renderer, folder, context)


def told(folder: Path) -> list[dict[str, Any]]:
    """What was logged of each step."""
    lines = [json.loads(line)[2] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if "loss" in line]


# --- questions


def test_each_question_keeps_its_mode_and_leaves_its_reply_out(renderer: Renderer, tmp_path: Path) -> None:
    found = read(renderer, tmp_path, [*sums(4), *sums(4, mode="think")])
    first, last = (renderer.tokenizer.decode(found.rows[at].prompt) for at in (0, -1))
    assert "/no_think" in first and first.endswith("<think>\n\n</think>\n") and "The answer is" not in first
    assert "Reasoning Mode: /think" in last and last.endswith("<|im_start|>assistant\n")
    assert all(one.reply == [] for one in found.rows) and found.sources == {"sums": 8}
    assert found.longest == max(len(one.prompt) for one in found.rows)


def test_a_share_of_off_policy_steps_reads_the_replies(renderer: Renderer, tmp_path: Path) -> None:
    found = read(renderer, tmp_path, sums(8), lmbda=0.5, max_answer_tokens=40)
    assert renderer.tokenizer.decode(found.rows[0].reply) == sums(8)[0]["messages"][-1]["content"] + "<|im_end|>"
    assert found.cut == 0
    short = read(renderer, tmp_path, sums(8), lmbda=0.5, max_answer_tokens=3)
    assert short.cut == 8 and all(len(one.reply) == 3 for one in short.rows)


@pytest.mark.parametrize(
    ("rows", "changes", "said"),
    [
        ([], {}, "is empty"),
        ([{"messages": [system("only")]}], {}, "does not end with a question"),
        ([{"messages": [say("hello")]}], {}, "at least one message"),
        (sums(3), {}, "3 prompts for steps of 8"),
        ([*sums(8), {"messages": [ask("very long " * 300)]}], {}, "1 prompts leave no room for 12 tokens of answer"),
        ([*sums(8), {"messages": [ask("47+85?")]}], {"lmbda": 0.5}, "without a reply, which lmbda 0.5 needs"),
    ],
)
def test_prompts_that_cannot_be_used_are_refused(renderer: Renderer, tmp_path: Path, rows: Any, changes: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        read(renderer, tmp_path, rows, **changes)


# --- teachers


def test_a_teacher_that_is_not_there_is_refused(taught: Lab, tmp_path: Path) -> None:
    teacher = taught.inputs.pop("teacher")
    with pytest.raises(InputError, match="there is no teacher: no model of 'sft-teacher'"):
        taught.prepared(request_of(distillation_step()))
    (tmp_path / "nothing").mkdir()
    taught.inputs["teacher"] = tmp_path / "nothing"
    with pytest.raises(InputError, match="the teacher's tokenizer cannot be read"):
        taught.prepared(request_of(distillation_step()))
    for path in teacher.glob("tokenizer*"):
        (tmp_path / "nothing" / path.name).write_bytes(path.read_bytes())
    with pytest.raises(InputError, match="no model can be read"):
        taught.prepared(request_of(distillation_step()))


def test_a_hub_that_cannot_be_reached_is_said(taught: Lab) -> None:
    """These tests are offline."""
    with pytest.raises(InputError, match=r"the teacher cannot be fetched: [\s\S]*hf:owner/model@0123abc"):
        taught.prepared(request_of(distillation_step(teacher="hf:owner/model@0123abc")))


def test_a_teacher_of_another_vocabulary_is_refused(taught: Lab, tmp_path: Path) -> None:
    """Another tokenizer, and one in which two tokens changed places: the same size says nothing."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(taught.model)
    model = json.loads(tokenizer.backend_tokenizer.to_str())
    one, other = sorted(model["model"]["vocab"], key=model["model"]["vocab"].get)[300:302]
    vocab = model["model"]["vocab"]
    vocab[one], vocab[other] = vocab[other], vocab[one]
    swapped = tmp_path / "swapped"
    swapped.mkdir()
    for path in taught.inputs["teacher"].iterdir():
        (swapped / path.name).write_bytes(path.read_bytes())
    (swapped / "tokenizer.json").write_text(json.dumps(model))
    taught.inputs["teacher"] = swapped
    with pytest.raises(ConfigError, match="another vocabulary than the student's: 2 tokens differ in name or number"):
        taught.prepared(request_of(distillation_step()))


def test_a_teacher_with_more_logits_than_the_student_is_refused(taught: Lab, tmp_path: Path) -> None:
    """Embeddings are often padded to a multiple: the tokenizers agree, the distributions do not."""
    from transformers import SmolLM3ForCausalLM

    padded = SmolLM3ForCausalLM.from_pretrained(taught.inputs["teacher"])
    rows = padded.config.vocab_size
    padded.resize_token_embeddings(rows + 64)
    for path in taught.inputs["teacher"].glob("tokenizer*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    padded.save_pretrained(tmp_path)
    taught.inputs["teacher"] = tmp_path
    with pytest.raises(ConfigError, match=f"probabilities of {rows + 64:,} tokens, the student of {rows:,}"):
        taught.prepared(request_of(distillation_step()))


def test_a_recipe_names_teachers_that_there_are() -> None:
    add = {"name": "add", "uri": "generated:add", "examples": 8}

    def chain(**step: Any) -> PostTrainingConfig:
        return PostTrainingConfig.parse({"sft": [{"sources": [add]}], "distillation": [{"prompts": [add], "parent": "sft-main"} | step]})

    chain(teacher="pretrained")
    assert chain(teacher="hf:owner/model@0123abc").distillation[0].models == ["sft-main"]
    with pytest.raises(ConfigError, match="distillation-main: no step 'sft-big' to learn from"):
        chain(teacher="sft-big")
    with pytest.raises(ConfigError, match="start from each other"):
        chain(teacher="distillation-main")
    with pytest.raises(ConfigError, match="names no revision"):
        chain(teacher="hf:owner/model")
    both = {"sft": [{"sources": [add], "name": name} for name in ("main", "teacher")], "distillation": []}
    one = {"prompts": [add], "parent": "sft-main", "teacher": "distillation-first"}
    both["distillation"] = [one, one | {"name": "first", "teacher": "sft-teacher"}]
    assert PostTrainingConfig.parse(both).in_order()[-2:] == ["distillation-first", "distillation-main"], "a teacher comes first"


# --- arguments


def test_the_same_step_on_gpus(tmp_path: Path) -> None:
    from trl import DistillationConfig

    plain = DistillationConfig(**distillation(distillation_step(beta=0.5), CPU, tmp_path, 256))
    assert (plain.bf16, plain.use_cpu, plain.beta, plain.max_completion_length, plain.use_vllm) == (False, True, 0.5, 12, False)
    assert plain.gradient_accumulation_steps == 2 and plain.max_steps == 12
    placement = {"micro_batch_size": 4, "sharding": "zero3", "generation": "server", "generation_url": "http://gpu-9:8000"}
    many = distillation_step(global_batch_size=64, placement=placement)
    with pytest.raises(ResourceError, match="vLLM is not installed"):
        distillation(many, GPU, tmp_path, 4096)
    spread = distillation(
        many.model_copy(update={"placement": many.placement.model_copy(update={"generation": "plain"})}), GPU, tmp_path, 4096
    )
    assert (spread["bf16"], spread["gradient_accumulation_steps"], spread["deepspeed"]["zero_optimization"]["stage"]) == (True, 2, 3)


# --- training


def test_the_student_comes_nearer_to_its_teacher(taught: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """On its own answers; the teacher stays as it is, and is no part of what is left."""
    spec = taught.spec(request_of(distillation_step()))
    result = taught.here(spec, monkeypatch)
    assert result["exit"] == 0, result
    made, summary = taught.part(spec), result["summary"]
    steps = told(made)
    assert len(steps) == 12 and all(line["on_policy"] == 1 for line in steps)
    assert steps[-1]["loss"] < 0.8 * steps[0]["loss"]
    assert steps[-1]["seconds/generate"] > 0 and steps[-1]["seconds/train"] > 0
    assert weights(made) not in (weights(taught.model), weights(taught.inputs["teacher"]))
    assert (summary["counts"]["prompts"], summary["counts"]["steps"], summary["counts"]["answers"]) == (24, 12, 96)
    assert summary["counts"]["tokens"] == steps[-1]["num_tokens"]
    assert summary["evidence"]["teacher"] == "sft-teacher" and summary["evidence"]["divergence"] == "reverse KL"


def test_off_policy_steps_take_the_replies(taught: Lab) -> None:
    """Never the student's words with lmbda 0; with 0.5 some of each, the same ones each time."""
    off = taught.prepared(request_of(distillation_step(lmbda=0, steps=2, max_answer_tokens=40))).trainer
    off.train()
    lines = [line for line in off.state.log_history if "loss" in line]
    replies = [len(one) for one in off.train_dataset["reply"]]
    assert all(line["on_policy"] == 0 for line in lines)
    assert min(replies) <= lines[0]["completions/mean_length"] <= max(replies) and lines[0]["completions/clipped_ratio"] == 0
    half = taught.prepared(request_of(distillation_step(lmbda=0.5))).trainer
    drawn = [half._own_words(step) for step in range(100)]
    assert 30 < sum(drawn) < 70 and drawn == [half._own_words(step) for step in range(100)]


def test_a_model_learns_nothing_from_itself(taught: Lab) -> None:
    """The loss is a divergence: with the student as its own teacher it is 0."""
    taught.inputs["teacher"] = taught.model
    trainer = taught.prepared(request_of(distillation_step(steps=1))).trainer
    trainer.train()
    assert abs(next(line["loss"] for line in trainer.state.log_history if "loss" in line)) < 1e-5
