"""Conversations whose rendering is frozen under golden/. Renew after a wanted change, and read the difference before you commit it:

python -m tests.tasks.posttraining.golden_cases
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from tasks.posttraining import Renderer, Sample, template_text
from tasks.posttraining.config import ChatTemplate
from tests.tasks.posttraining.material import ADD, THOUGHT, ask, call, sample, say, system, train_tokenizer

FOLDER = Path(__file__).parent / "golden"
QUESTION, ANSWER = ask("What is 47+85?"), say("The answer is 132.")
PIRATE = "You are a pirate.\nNever say no."
TWO_TURNS = [ask("What is 47+85?"), say(THOUGHT), ask("And 1+1?"), say("<think>\n1+1=2\n</think>\nThe answer is 2.")]
TOOL_TURNS = [QUESTION, say("Let me add.", tool_calls=[call(47, 85)]), {"role": "tool", "content": "132"}, ANSWER]
CODE = say("<code>\nadd(47, 85)\n</code>")


class Case(NamedTuple):
    """A sample, the template's settings, and whether the prompt of the next answer follows."""

    sample: Sample
    template: Mapping[str, Any] = MappingProxyType({})
    prompt: bool = False


CASES: dict[str, Case] = {
    "no_think": Case(sample(QUESTION, ANSWER)),
    "think": Case(sample(QUESTION, say(THOUGHT), enable_thinking=True)),
    "think_field": Case(sample(QUESTION, say("The answer is 132.", reasoning_content="7+5=12\n4+8+1=13"), enable_thinking=True)),
    "default_think": Case(sample(QUESTION, say(THOUGHT)), {"default_mode": "think"}),
    "flag_in_system": Case(sample(system(f"{PIRATE} /think"), QUESTION, say(THOUGHT))),
    "flag_against_kwarg": Case(sample(system(f"/no_think {PIRATE}"), QUESTION, ANSWER, enable_thinking=True)),
    "system_no_think": Case(sample(system(PIRATE), QUESTION, ANSWER)),
    "custom_instructions": Case(sample(QUESTION, ANSWER, custom_instructions=PIRATE)),
    "null_custom_instructions": Case(sample(system(PIRATE), QUESTION, ANSWER, custom_instructions=None, enable_thinking=None)),
    "both_system_texts": Case(sample(system(PIRATE), QUESTION, ANSWER, custom_instructions="Rhyme.")),
    "system_override": Case(sample(system(f"/system_override {PIRATE}"), QUESTION, ANSWER), {"header": True, "instructions": "Be kind."}),
    "default_instructions": Case(sample(QUESTION, ANSWER), {"instructions": "Be kind."}),
    "header": Case(sample(system(PIRATE), QUESTION, ANSWER, today="01 July 2025"), {"header": True, "knowledge_cutoff": "June 2025"}),
    "turns_think": Case(sample(*TWO_TURNS, enable_thinking=True)),
    "turns_switching": Case(sample(ask("What is 47+85? /think"), say(THOUGHT), ask("And 1+1? /no_think"), say("The answer is 2."))),
    "turns_last_reasoning_only": Case(sample(*TWO_TURNS, enable_thinking=True), {"keep_reasoning": False}),
    "tools_xml": Case(sample(*TOOL_TURNS, tools=[ADD])),
    "tools_xml_kwarg": Case(sample(*TOOL_TURNS, xml_tools=['{"name": "add"}'])),
    "tools_two_calls": Case(sample(QUESTION, say(None, tool_calls=[call(47, 85), call(1, 1)]), tools=[ADD])),
    "tools_think": Case(
        sample(
            system(PIRATE), QUESTION, say("<think>\nI can call add.\n</think>", tool_calls=[call(47, 85)]),
            {"role": "tool", "content": "132"}, say("<think>\nIt says 132.\n</think>\n132."), tools=[ADD], enable_thinking=True,
        )
    ),
    "tools_python": Case(sample(QUESTION, CODE, {"role": "tool", "content": "132"}, ANSWER, python_tools=[ADD])),
    "tools_both": Case(sample(system(PIRATE), QUESTION, ANSWER, tools=[ADD], python_tools=["def add(a, b): ..."])),
    "tools_override": Case(sample(system(f"{PIRATE} /system_override"), QUESTION, ANSWER, tools=[ADD])),
    "prompt_no_think": Case(sample(system(PIRATE), QUESTION), prompt=True),
    "prompt_think": Case(sample(QUESTION, enable_thinking=True), prompt=True),
    "prompt_after_tool": Case(sample(*TOOL_TURNS[:3], tools=[ADD]), prompt=True),
    "prompt_switched": Case(sample(*TWO_TURNS, ask("Short. /no_think"), enable_thinking=True), prompt=True),
    "chatml": Case(sample(system(PIRATE), *TWO_TURNS), {"kind": "chatml"}),
    "chatml_custom_instructions": Case(sample(QUESTION, ANSWER, custom_instructions=PIRATE), {"kind": "chatml"}),
}  # fmt: skip


def renderer_of(case: Case, folder: Path) -> Renderer:
    """The template with the settings of a case, on the tokenizer of this folder."""
    return _renderer(folder, template_text(ChatTemplate(**{"kind": "smollm3", **case.template})))


@cache
def _renderer(folder: Path, text: str) -> Renderer:
    return Renderer.load(folder, text)


def drawn(case: Case, folder: Path) -> str:
    """The conversation as the model sees it, with what carries loss between 〔 and 〕."""
    renderer = renderer_of(case, folder)
    if case.prompt:
        return renderer.text(case.sample, prompt=True)
    out, inside = [], False
    for token in renderer.render(case.sample).tokens:
        if token.trained != inside:
            out.append("〔" if token.trained else "〕")
            inside = token.trained
        out.append(token.text)
    return "".join([*out, "〕" if inside else ""])


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        trained = train_tokenizer(Path(place))
        for name, case in CASES.items():
            (FOLDER / f"{name}.txt").write_text(drawn(case, trained), encoding="utf-8")
