"""The chat template: frozen renders, what transformers makes of it, and tokenizers and templates that are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import AddedToken, AutoTokenizer

from contracts.errors import ConfigError, InputError
from tasks.posttraining import Linter, Renderer, equip, template_text
from tasks.posttraining.config import ChatLint, ChatTemplate
from tests.tasks.posttraining.golden_cases import CASES, FOLDER, drawn, renderer_of
from tests.tasks.posttraining.material import THOUGHT, ask, sample, say, system

SMOLLM3 = template_text(ChatTemplate(kind="smollm3"))


@pytest.mark.parametrize("name", CASES)
def test_a_conversation_is_rendered_as_frozen(name: str, folder: Path) -> None:
    assert drawn(CASES[name], folder) == (FOLDER / f"{name}.txt").read_text(encoding="utf-8")


def test_every_frozen_render_has_its_case() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == set(CASES)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if not case.prompt])
def test_what_is_trained_is_what_inference_reads_back(name: str, folder: Path) -> None:
    """Prompt, tokens, mask and parsed reply of every turn agree; nothing of the system text is lost."""
    case = CASES[name]
    problems = Linter(ChatLint(), renderer_of(case, folder)).add(case.sample)
    assert not {"system_lost", "all_masked", "round_trip", "template_refuses"} & set(problems), problems


def test_a_saved_tokenizer_carries_template_and_mask(folder: Path, tmp_path: Path) -> None:
    equip(AutoTokenizer.from_pretrained(folder), SMOLLM3).save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    messages = [system("Be brief."), ask("What is 47+85?"), say(THOUGHT)]
    made = tokenizer.apply_chat_template(messages, enable_thinking=True, return_dict=True, return_assistant_tokens_mask=True)
    trained = [id_ for id_, on in zip(made["input_ids"], made["assistant_masks"], strict=True) if on]
    assert tokenizer.decode(trained) == f"{THOUGHT}<|im_end|>"
    whole = tokenizer.apply_chat_template(messages, enable_thinking=True, tokenize=False)
    prompt = tokenizer.apply_chat_template(messages[:2], enable_thinking=True, tokenize=False, add_generation_prompt=True)
    assert whole.startswith(prompt) and whole.endswith("<|im_end|>")


def test_content_in_parts_is_joined_and_an_empty_think_block_is_not_doubled(renderer: Renderer) -> None:
    parts = [{"type": "text", "text": "What is "}, {"type": "text", "text": "47+85?"}]
    plain = renderer.text(sample(ask("What is 47+85?"), say("132")))
    assert renderer.text(sample({"role": "user", "content": parts}, say("<think>\n\n</think>\n132"))) == plain


def test_only_a_flag_that_stands_alone_is_one(renderer: Renderer) -> None:
    text = renderer.text(
        sample(system("See https://x.org/think and /thinking."), ask("Is a/no_think b?"), say("No."), enable_thinking=False)
    )
    assert "Reasoning Mode: /no_think\n\nSee https://x.org/think and /thinking.<|im_end|>" in text


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([{"role": "developer", "content": "x"}, ask("q"), say("a")], "unknown role 'developer'"),
        ([ask("q"), system("late"), say("a")], "not the first message"),
        ([{"role": "user", "content": [{"type": "image", "text": ""}]}, say("a")], "writes text alone"),
    ],
)
def test_a_conversation_the_template_cannot_write_is_refused(renderer: Renderer, messages: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(InputError, match=said):
        renderer.text(sample(*messages))


def test_chatml_refuses_tools_instead_of_losing_them(folder: Path) -> None:
    renderer = Renderer.load(folder, template_text(ChatTemplate()))
    with pytest.raises(InputError, match="chatml has no tools"):
        renderer.text(CASES["tools_xml"].sample)


@pytest.mark.parametrize("text", ["{{ messages[0].content }}", "{% generation %}{{ messages[0].content }}"])
def test_a_template_without_markers_is_refused(folder: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "own.jinja").write_text(text)
    with pytest.raises(ConfigError, match="generation"):
        template_text(ChatTemplate(kind="file", path=str(tmp_path / "own.jinja")))
    with pytest.raises(ConfigError, match="generation"):
        Renderer.load(folder, text)


def test_a_template_that_is_not_there_or_not_jinja_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        template_text(ChatTemplate(kind="file", path="/nowhere/own.jinja"))
    with pytest.raises(ConfigError, match="not Jinja"):
        Renderer.load(folder, "{% generation %}{{ x }}{% endgeneration %}{% if %}")


def test_a_tokenizer_that_lacks_the_tokens_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"brings no chat template"):
        Renderer.load(folder)
    with pytest.raises(InputError, match=r"no tokenizer can be read"):
        Renderer.load(tmp_path, SMOLLM3)
    with pytest.raises(InputError, match=r"lacks <\|end_of_turn\|> as single tokens"):
        Renderer.load(folder, SMOLLM3.replace("<|im_end|>", "<|end_of_turn|>"))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([AddedToken("<think>", special=True)])
    with pytest.raises(InputError, match="hides <think> when it decodes"):
        equip(tokenizer, SMOLLM3)
