"""Every rule over one sample: one that it must refuse, with its words, and sound ones that no rule refuses."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.posttraining import Sample
from tasks.posttraining.rules import RULES, STRUCTURE
from tests.tasks.posttraining.material import ADD, THOUGHT, ask, call, sample, say, system

Q, A = ask("What is 47+85?"), say("The answer is 132.")
THINK: dict[str, Any] = {"enable_thinking": True}
REFUSED: list[tuple[str, Sample, str]] = [
    ("unknown_role", sample({"role": "developer", "content": "x"}, Q, A), "role 'developer'"),
    ("unknown_role", sample(Q, {"role": "gpt", "content": "x"}), "role 'gpt'"),
    ("role_order", sample(A), "begins with assistant"),
    ("role_order", sample(system("x")), "a system message alone"),
    ("role_order", sample(Q, Q, A), "user after user"),
    ("role_order", sample(Q, A, A), "assistant after assistant"),
    ("role_order", sample(Q, A, system("late"), Q, A), "a system message as message 3"),
    ("role_order", sample(Q, {"role": "tool", "content": "1"}, A), "tool after user"),
    ("role_order", sample(Q, A, {"role": "tool", "content": "1"}, A), "nobody called one"),
    ("role_order", sample(Q, say("", tool_calls=[call(1, 2)]), {"role": "tool", "content": "3"}, Q, A), "user after tool"),
    ("role_order", sample(Q, A, Q), "ends with user"),
    ("empty_answer", sample(Q, say(" \n")), "message 2 says nothing"),
    ("empty_answer", sample(Q, say("<think>\nhm\n</think>\n"), **THINK), "after its reasoning"),
    ("empty_answer", sample(Q, say(None, reasoning_content="hm"), **THINK), "after its reasoning"),
    ("empty_question", sample(ask(" "), A), "message 1 is empty"),
    ("broken_reply", sample(Q, say("<think>\nhm. 132"), **THINK), "not closed"),
    ("broken_reply", sample(Q, say("hm</think>\n132"), **THINK), "</think> without its counterpart"),
    ("broken_reply", sample(Q, say("132 <think>hm</think>"), **THINK), "not at the beginning"),
    ("broken_reply", sample(Q, say("<think>a</think><think>b</think>132"), **THINK), "more than one think block"),
    ("broken_reply", sample(Q, say('<tool_call>\n{"name": "add", \n</tool_call>')), "not JSON"),
    ("broken_reply", sample(Q, say('<tool_call>\n{"arguments": {}}\n</tool_call>')), "without the name"),
    ("broken_reply", sample(Q, say('<tool_call>\n{"name": "add"}')), "<tool_call> without its counterpart"),
    ("broken_reply", sample(Q, say("<code>\nadd(1, 2)")), "<code> without its counterpart"),
    ("broken_reply", sample(Q, say("", tool_calls=[{"function": {"name": "add", "arguments": "[1]"}}])), "no JSON object"),
    ("broken_reply", sample(Q, say("", tool_calls=[{"function": {"arguments": "{}"}}])), "without the name"),
    ("broken_reply", sample(Q, say("<think>a</think>132", reasoning_content="b"), **THINK), "another one in its own field"),
    ("unknown_tool", sample(Q, say("", tool_calls=[call(1, 2)])), "no tools are given"),
    ("unknown_tool", sample(Q, say('<tool_call>{"name": "sub"}</tool_call>'), tools=[ADD]), "calls sub; the tools are add"),
    ("mode_contradiction", sample(Q, say(THOUGHT)), "reasons, /no_think holds"),
    ("mode_contradiction", sample(Q, A, **THINK), "does not reason, /think holds"),
    ("mode_contradiction", sample(system("/think"), Q, A), "does not reason, /think holds"),
    ("mode_contradiction", sample(ask("1+1? /no_think"), say(THOUGHT), **THINK), "reasons, /no_think holds"),
    ("mode_contradiction", sample(system("/think /no_think"), Q, A), "asks for /think and /no_think"),
    ("mode_contradiction", sample(Q, say("132", reasoning_content="hm")), "reasons, /no_think holds"),
    ("null_kwargs", sample(system("x"), Q, A, custom_instructions=None), "custom_instructions is null"),
    ("null_kwargs", sample(Q, A, enable_thinking=None, custom_instructions=None), "are null"),
    ("wrong_kwargs", sample(Q, A, enable_thinking="false"), "enable_thinking is 'false'"),
    ("wrong_kwargs", sample(Q, A, custom_instructions=["Be brief."]), "is of type list, not text"),
    ("control_tokens", sample(ask("Say <|im_end|> now"), A), "message 1 spells out <|im_end|>"),
    ("control_tokens", sample(Q, say("132<|endoftext|>")), "message 2 spells out <|endoftext|>"),
    ("two_system_texts", sample(system("x"), Q, A, custom_instructions="y"), "other custom_instructions"),
    ("other_nulls", sample(Q, A, xml_tools=None), "xml_tools null"),
    (
        "other_nulls",
        sample(Q, say("", tool_calls=[{"function": {"name": "add", "arguments": {"a": 1, "b": None}}}]), tools=[ADD]),
        "a null among the arguments of add",
    ),
]
SOUND = [
    sample(Q, A),
    sample(Q, say(THOUGHT), **THINK),
    sample(Q, say("132", reasoning_content="hm"), **THINK),
    sample(Q, say("132", thinking="hm"), **THINK),
    sample(Q, say("<think>\n\n</think>\n132")),
    sample(system("Be brief."), Q, A, Q, A, custom_instructions="Be brief."),
    sample(ask("a /think"), say(THOUGHT), ask("b /no_think"), A),
    sample(Q, say(None, tool_calls=[call(47, 85)]), {"role": "tool", "content": "132"}, A, tools=[ADD]),
    sample(Q, say("<code>\nadd(1, 2)\n</code>"), {"role": "tool", "content": "3"}, say("3"), python_tools=["def add(a, b): ..."]),
    sample(Q, say('<tool_call>{"name": "f", "arguments": {}}</tool_call>'), xml_tools=["f: a function"]),
    sample(Q, say(THOUGHT), mode=None),
    sample(ask("What does a/think b mean, and 1 < 2 |> 3?"), A),
]


@pytest.mark.parametrize(("name", "refused", "said"), REFUSED, ids=[f"{name}: {said}" for name, _, said in REFUSED])
def test_a_rule_refuses_what_it_is_for(name: str, refused: Sample, said: str) -> None:
    rule = next(rule for rule in RULES if rule.name == name)
    assert said in (rule.check(refused) or "")


def test_every_rule_has_a_sample_that_it_refuses() -> None:
    assert {name for name, _, _ in REFUSED} == {rule.name for rule in RULES}


@pytest.mark.parametrize("number", range(len(SOUND)))
def test_a_sound_sample_is_left_alone(number: int) -> None:
    assert {rule.name: said for rule in (STRUCTURE, *RULES) if (said := rule.check(SOUND[number]))} == {}


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        (None, "at least one message"),
        ([], "at least one message"),
        (["hello"], "message 1 is not an object with a role"),
        ([{"content": "x"}], "message 1 is not an object with a role"),
        ([{"role": "user", "content": 5}], "neither text"),
        ([{"role": "assistant", "content": "x", "tool_calls": "add"}], "not a list"),
    ],
)
def test_messages_that_are_no_conversation_are_refused(messages: Any, said: str) -> None:
    assert said in (STRUCTURE.check(Sample(messages)) or "")
