"""A sample of chat data as it was given, and what it asks of the template: system text, modes, turns.

Nothing is repaired here. What is broken stays as it is, so that the linter sees what a trainer would be given.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from tasks.posttraining.config import Mode

ROLES = ("system", "user", "assistant", "tool")
FLAGS: dict[str, Mode] = {"/think": "think", "/no_think": "no_think"}
OVERRIDE = "/system_override"
NOTHING_THOUGHT = "<think>\n\n</think>\n"


@dataclass(frozen=True)
class Turn:
    """One message, its content joined to text."""

    role: str
    text: str
    """Content; empty where it is null."""
    reasoning: str
    """The separate field `reasoning_content` (or `thinking`, `reasoning`); reasoning inside the content stays there."""
    calls: tuple[Any, ...]
    """The separate field `tool_calls`, as given."""


@dataclass(frozen=True)
class Sample:
    """One conversation with what is handed to the template beside it."""

    messages: Any
    """Roles and contents as the file has them; `malformed` says whether they can be read."""
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Column `chat_template_kwargs`: handed to the template by trainers as it stands, nulls included."""
    tools: Any = None
    """Column `tools`."""
    source: str = ""
    """The data set it came from."""
    where: str = ""
    """File and line, for messages to people."""
    default_mode: Mode | None = None
    """Mode where the sample asks for none: the template's. None: the template has no modes."""

    @cached_property
    def malformed(self) -> str | None:
        """Why the messages cannot be read as conversation, or None."""
        if not isinstance(self.messages, list) or not self.messages:
            return "`messages` is not a list with at least one message"
        for number, message in enumerate(self.messages, start=1):
            if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
                return f"message {number} is not an object with a role"
            if _text(message.get("content")) is None:
                return f"message {number}: its content is neither text, a list of text parts, nor null"
            if not isinstance(message.get("tool_calls") or [], list):
                return f"message {number}: `tool_calls` is not a list"
        return None

    @cached_property
    def turns(self) -> list[Turn]:
        """The messages in order; only for a sample that is not malformed."""
        return [Turn(m["role"], _text(m.get("content")) or "", _reasoning(m), tuple(m.get("tool_calls") or ())) for m in self.messages]

    @cached_property
    def system_texts(self) -> list[str]:
        """Every text that asks to stand in the system turn: a first message, and `custom_instructions`."""
        told = self.kwargs.get("custom_instructions")
        first = [self.turns[0].text] if self.turns[0].role == "system" else []
        return [text for text in [*first, told if isinstance(told, str) else ""] if without_flags(text)]

    @cached_property
    def modes(self) -> list[Mode | None]:
        """The mode that holds in each turn: of the system text, else `enable_thinking`, else the default; a user turn may switch it."""
        thinking = self.kwargs.get("enable_thinking")
        mode = self.default_mode if thinking is None else "think" if thinking else "no_think"
        told = self.kwargs.get("custom_instructions")
        mode = last_flag(
            told if isinstance(told, str) else "", last_flag(self.turns[0].text if self.turns[0].role == "system" else "", mode)
        )
        found = []
        for turn in self.turns:
            mode = last_flag(turn.text, mode) if turn.role == "user" else mode
            found.append(mode)
        return found

    @cached_property
    def mode(self) -> str:
        """`think`, `no_think`, `both` where answers follow different modes, or `none` where there is no mode."""
        found = {mode for mode, turn in zip(self.modes, self.turns, strict=True) if turn.role == "assistant"}
        return str(found.pop() or "none") if len(found) == 1 else "both" if found else "none"

    @cached_property
    def template_kwargs(self) -> dict[str, Any]:
        """All that `apply_chat_template` is given beside the messages."""
        return dict(self.kwargs) | ({"tools": self.tools} if self.tools else {})

    @cached_property
    def digest(self) -> bytes:
        """Of messages, tools and template arguments; equal for exact duplicates."""
        whole = json.dumps([self.messages, dict(self.kwargs), self.tools], sort_keys=True, default=str, ensure_ascii=False)
        return hashlib.blake2b(whole.encode("utf-8", "replace"), digest_size=12).digest()

    @cached_property
    def prompt_digest(self) -> bytes | None:
        """Of the first user turn without mode flags: the same question put in both modes has the same one. None without a user turn."""
        asked = next((without_flags(turn.text) for turn in self.turns if turn.role == "user"), None)
        return hashlib.blake2b(asked.encode("utf-8", "replace"), digest_size=12).digest() if asked else None

    def upto(self, count: int) -> Sample:
        """The sample cut to its first `count` messages."""
        return Sample(self.messages[:count], self.kwargs, self.tools, self.source, self.where, self.default_mode)


def last_flag(text: str, mode: Mode | None) -> Mode | None:
    """The mode after reading `text`: its last /think or /no_think that stands as a word of its own, else the one before."""
    if "/think" not in text and "/no_think" not in text:
        return mode
    return next((FLAGS[word] for word in reversed(text.split()) if word in FLAGS), mode)


def without_flags(text: str) -> str:
    """Text without /think, /no_think and /system_override, line by line, as the template does it."""
    lines = (" ".join(word for word in line.split(" ") if word not in FLAGS and word != OVERRIDE) for line in text.split("\n"))
    return "\n".join(lines).strip()


def _reasoning(message: Mapping[str, Any]) -> str:
    """The reasoning beside the content; transformers takes the three names for one."""
    return str(next((message[name] for name in ("reasoning_content", "thinking", "reasoning") if message.get(name)), ""))


def _text(content: Any) -> str | None:
    """Content as text; None where it is something else."""
    if content is None or isinstance(content, str):
        return content or ""
    if isinstance(content, list) and all(isinstance(part, Mapping) and isinstance(part.get("text"), str) for part in content):
        return "".join(part["text"] for part in content)
    return None
