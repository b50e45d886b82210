"""What an inference server reads from generated text: reasoning, answer, tool calls.

The rules are those of the usual parsers (vLLM's `qwen3` for reasoning and `hermes` for tool calls), except that text which they
would pass on as it is, half a block or broken JSON, is an error here: training text must not teach it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from tasks.posttraining.conversation import NOTHING_THOUGHT, Turn

_CALL = re.compile(r"<tool_call>(.*?)</tool_call>", re.DOTALL)
_CODE = re.compile(r"<code>\n?(.*?)\n?</code>", re.DOTALL)
_TAGS = re.compile(r"</?(?:tool_call|think|code)>")


class Call(NamedTuple):
    """One function call; arguments as canonical JSON."""

    name: str
    arguments: str


class Reply(NamedTuple):
    """One generated turn, taken apart."""

    reasoning: str
    answer: str
    """Without reasoning and XML tool calls; Python code stays where it stands."""
    calls: tuple[Call, ...]
    code: tuple[str, ...]
    """Python code between `<code>` and `</code>` in the answer."""

    @property
    def empty(self) -> bool:
        """Whether nothing is left for a reader or a tool."""
        return not self.answer and not self.calls


def parse_reply(text: str) -> Reply:
    """Take generated text apart; `text` is what was written after the prompt, without its end-of-turn token.

    Raises:
        ValueError: a think block that is not closed, opens twice or stands after the answer; a tool call that is not JSON or has no name.
    """
    reasoning, rest = _split_reasoning(text)
    calls = tuple(_call(json_of(body)) for body in _CALL.findall(rest))
    answer = _CALL.sub("", rest)
    code = tuple(_CODE.findall(answer))
    left = _TAGS.search(_CODE.sub("", answer))
    if left:
        raise ValueError(f"{left[0]} without its counterpart")
    return Reply(reasoning, answer.strip(), calls, code)


def reply_of(turn: Turn) -> Reply:
    """What an assistant message says it holds: its separate fields, and what its content spells out.

    Raises:
        ValueError: as `parse_reply`, a `tool_calls` entry without name or with arguments that are no JSON object, or reasoning in both
            places, of which a template keeps one.
    """
    inside = parse_reply(turn.text)
    if inside.reasoning and turn.reasoning.strip() not in ("", inside.reasoning):
        raise ValueError("one reasoning in the content and another one in its own field")
    calls = tuple(_call(one.get("function") or one if isinstance(one, Mapping) else one) for one in turn.calls)
    reasoning = inside.reasoning or turn.reasoning.strip()
    return inside._replace(reasoning=reasoning, calls=inside.calls + calls)


def json_of(text: str) -> Any:
    """JSON, or a ValueError that says so in a few words."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"a tool call that is not JSON ({error})") from None


def _split_reasoning(text: str) -> tuple[str, str]:
    """Reasoning before `</think>`, and what follows it; an empty block is no reasoning."""
    text = text.lstrip("\n").removeprefix(NOTHING_THOUGHT)
    if text.count("<think>") > 1 or text.count("</think>") > 1:
        raise ValueError("more than one think block")
    if "<think>" not in text and "</think>" not in text:
        return "", text
    if not text.startswith("<think>"):
        raise ValueError("a think block that is not at the beginning" if "<think>" in text else "</think> without its counterpart")
    reasoning, closed, rest = text.removeprefix("<think>").partition("</think>")
    if not closed:
        raise ValueError("a think block that is not closed")
    return reasoning.strip(), rest


def _call(call: Any) -> Call:
    name, arguments = (call.get("name"), call.get("arguments")) if isinstance(call, Mapping) else (None, None)
    if not isinstance(name, str) or not name:
        raise ValueError("a tool call without the name of its function")
    arguments = json_of(arguments) if isinstance(arguments, str) else arguments
    if not isinstance(arguments or {}, Mapping):
        raise ValueError(f"arguments of {name} that are no JSON object")
    return Call(name, json.dumps(arguments or {}, sort_keys=True, ensure_ascii=False))
