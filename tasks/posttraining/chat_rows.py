"""Rows of chat data in the one form that every training stage reads, whatever columns they came with.

A conversation or prompt: {"messages": [...], "chat_template_kwargs"?: {...}, "tools"?: [...], "answer"?: "132", "tests"?: [...]}.
A pair: {"prompt": [messages], "chosen": [messages], "rejected": [messages], "chat_template_kwargs"?: {...}}.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from contracts.errors import InputError
from tasks.posttraining.chat_requests import Holds
from tasks.posttraining.config import ChatSource
from tasks.posttraining.conversation import Sample, last_flag

_CHOSEN, _REJECTED = ("chosen", "strong"), ("rejected", "weak")
_KEPT = ("answer", "tests")
_MESSAGES = 'write one {"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]} per row'
_PAIR = 'write one {"prompt": [messages], "chosen": [messages], "rejected": [messages]} per row'


def normal_row(row: Any, holds: Holds, source: ChatSource, where: str) -> dict[str, Any]:
    """A row in the form above; arguments that are null are left out, and the source's mode is written down where the row asks for none.

    A struct column of Parquet stores null for every key that a row lacks; the null that hid every system prompt of SmolLM3's data was one.

    Raises:
        InputError: columns that are missing, or hold something else.
    """
    if not isinstance(row, Mapping):
        raise InputError("a row that is no object", where=where, do=_MESSAGES)
    kwargs = _kwargs(row.get("chat_template_kwargs"), where)
    if holds == "pairs":
        made = _pair(row, where)
        asked = made["prompt"]
    else:
        if not isinstance(row.get("messages"), list):
            raise InputError(f"no column 'messages' (there are: {', '.join(sorted(map(str, row))[:8])})", where=where, do=_MESSAGES)
        made = {"messages": row["messages"]} | {name: row[name] for name in _KEPT if row.get(name) is not None}
        asked = row["messages"]
    tools = row.get("tools")
    tools = _json(tools, f"{where}, tools") if isinstance(tools, str) and tools else tools
    if "enable_thinking" not in kwargs and not _says_mode(asked, kwargs):
        kwargs["enable_thinking"] = source.mode == "think"
    return made | ({"chat_template_kwargs": kwargs} if kwargs else {}) | ({"tools": tools} if tools else {})


def samples_in(row: Mapping[str, Any], source: ChatSource, where: str, holds: Holds = "conversations") -> list[Sample]:
    """What the linter looks at: the conversation, or the prompt with each of its answers.

    A prompt without a reply is shown with a stand-in, so that its questions are checked all the same.
    """
    kwargs, tools = row.get("chat_template_kwargs") or {}, row.get("tools")
    if "prompt" in row:
        ends = ("chosen", "rejected")
        return [Sample([*row["prompt"], *row[end]], kwargs, tools, source.name, f"{where} ({end})", source.mode) for end in ends]
    sample = Sample(row["messages"], kwargs, tools, source.name, where, source.mode)
    if holds == "questions" or "answer" in row or "tests" in row:
        last = None if sample.malformed else sample.turns[-1]
        if last is not None and last.role == "user":
            said = f"{'<think>...</think>' if sample.modes[-1] == 'think' else ''}{row.get('answer') or '...'}"
            return [Sample([*sample.messages, {"role": "assistant", "content": said}], kwargs, tools, source.name, where, source.mode)]
    return [sample]


def identical(row: Mapping[str, Any]) -> bool:
    """Whether a pair's answers are the same: there is nothing to prefer."""
    return "prompt" in row and row["chosen"] == row["rejected"]


def _pair(row: Mapping[str, Any], where: str) -> dict[str, Any]:
    chosen = next((row[name] for name in _CHOSEN if row.get(name) is not None), None)
    rejected = next((row[name] for name in _REJECTED if row.get(name) is not None), None)
    if chosen is None or rejected is None:
        said = f"a pair without {'chosen' if chosen is None else 'rejected'} answer (there are: {', '.join(sorted(map(str, row))[:8])})"
        raise InputError(said, where=where, do=_PAIR)
    prompt = row.get("prompt")
    good, bad = _messages(chosen, "assistant", where), _messages(rejected, "assistant", where)
    if prompt is None:  # both hold the whole conversation, and differ in its last message
        shared = next((n for n, (one, other) in enumerate(zip(good, bad, strict=False)) if one != other), min(len(good), len(bad)) - 1)
        prompt, good, bad = good[:shared], good[shared:], bad[shared:]
    else:
        prompt = _messages(prompt, "user", where)
        good, bad = (said[len(prompt) :] if said[: len(prompt)] == prompt else said for said in (good, bad))
    if not prompt or not good or not bad:
        raise InputError("a pair without a prompt or without an answer", where=where, do=_PAIR)
    return {"prompt": prompt, "chosen": good, "rejected": bad}


def _messages(said: Any, role: str, where: str) -> list[Any]:
    if isinstance(said, str):
        return [{"role": role, "content": said}]
    if isinstance(said, list):
        return said
    raise InputError("a pair whose sides are neither text nor messages", where=where, do=_PAIR)


def _says_mode(messages: list[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether a flag says the mode of the conversation's first answer."""
    texts = [str(kwargs.get("custom_instructions") or "")]
    for message in messages:
        if not isinstance(message, Mapping) or message.get("role") not in ("system", "user"):
            break
        texts.append(str(message.get("content") or ""))
    return any(last_flag(text, None) for text in texts)


def _kwargs(given: Any, where: str) -> dict[str, Any]:
    given = _json(given, f"{where}, chat_template_kwargs") if isinstance(given, str) and given else given
    if not isinstance(given or {}, Mapping):
        raise InputError("chat_template_kwargs is not an object", where=where, do=_MESSAGES)
    return {name: value for name, value in (given or {}).items() if value is not None}


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise InputError(f"not valid JSON: {error}", where=where, do="correct or remove it") from None
