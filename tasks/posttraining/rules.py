"""Rules over one sample as it was given: each a small pure function that says what is wrong, or None.

Smol Training Playbook, post-training: what the bugs were that only reading samples found (system prompts lost in every sample by a null
argument, empty answers, tags that contradict the content).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, Literal, NamedTuple

from tasks.posttraining.conversation import FLAGS, ROLES, Sample, Turn, without_flags
from tasks.posttraining.reply import reply_of
from tasks.posttraining.template import CONTROL

Severity = Literal["error", "warning"]


class Rule(NamedTuple):
    """A rule with what it is called, how bad it is, and what to do."""

    name: str
    severity: Severity
    do: str
    check: Callable[[Sample], str | None]


def malformed(sample: Sample) -> str | None:
    """Messages that are no conversation at all; the other rules do not look at such a sample."""
    return sample.malformed


def unknown_role(sample: Sample) -> str | None:
    """A role that the template does not know."""
    found = next((turn.role for turn in sample.turns if turn.role not in ROLES), None)
    return None if found is None else f"role '{found}' (known: {', '.join(ROLES)})"


def role_order(sample: Sample) -> str | None:
    """System anywhere but first, two of a kind in a row, a tool's result that nobody asked for, or no answer at the end."""
    roles = [turn.role for turn in sample.turns]
    if "system" in roles[1:]:
        return f"a system message as message {roles.index('system', 1) + 1}"
    spoken = [role for role in roles if role != "system"]
    if not spoken or spoken[0] != "user":
        return f"begins with {spoken[0]}" if spoken else "a system message alone"
    for before, role in pairwise(spoken):
        if role == before != "tool" or (role == "tool" and before == "user"):
            return f"{role} after {before}"
        if (before, role) == ("tool", "user"):
            return "user after tool: nobody answers to the tool's result"
    uncalled = next((n for n, (asked, got) in enumerate(pairwise(sample.turns), 2) if got.role == "tool" and not _calls(asked)), None)
    if uncalled:
        return f"message {uncalled} is a tool's result, and nobody called one"
    return None if spoken[-1] == "assistant" else f"ends with {spoken[-1]}: there is nothing to learn from it"


def empty_answer(sample: Sample) -> str | None:
    """An assistant turn with neither an answer nor a tool call; reasoning alone is no answer."""
    for number, turn in _answers(sample):
        try:
            if reply_of(turn).empty:
                return f"message {number} says nothing" + (" after its reasoning" if "think>" in turn.text or turn.reasoning else "")
        except ValueError:
            continue  # the rule `broken_reply`
    return None


def empty_question(sample: Sample) -> str | None:
    """A user turn without text."""
    return next((f"message {n} is empty" for n, turn in enumerate(sample.turns, 1) if turn.role == "user" and not turn.text.strip()), None)


def broken_reply(sample: Sample) -> str | None:
    """An answer that the inference parser cannot take apart: half a think block, a tool call that is not JSON."""
    for number, turn in _answers(sample):
        try:
            reply_of(turn)
        except ValueError as error:
            return f"message {number}: {error}"
    return None


def unknown_tool(sample: Sample) -> str | None:
    """A call of a function that is not among the tools the sample names."""
    known = {_name(tool) for key in ("tools", "xml_tools") for tool in sample.template_kwargs.get(key) or []}
    if None in known:
        return None  # tools written as text: their names are not known
    for number, turn in _answers(sample):
        try:
            lost = next((call.name for call in reply_of(turn).calls if call.name not in known), None)
        except ValueError:
            continue
        if lost is not None:
            return f"message {number} calls {lost}; " + (
                f"the tools are {', '.join(sorted(map(str, known)))}" if known else "no tools are given"
            )
    return None


def mode_contradiction(sample: Sample) -> str | None:
    """Reasoning where no_think holds, none where think holds, or both flags in one text."""
    for number, turn in enumerate(sample.turns, start=1):
        if turn.role in ("system", "user") and len({word for word in turn.text.split() if word in FLAGS}) == 2:
            return f"message {number} asks for /think and /no_think"
    for (number, turn), mode in zip(_answers(sample), _answer_modes(sample), strict=True):
        if turn.calls and not turn.text.strip():
            continue  # a bare tool call carries no reasoning in either mode
        try:
            thought = bool(reply_of(turn).reasoning)
        except ValueError:
            continue
        if mode is not None and thought != (mode == "think"):
            return f"message {number} {'reasons' if thought else 'does not reason'}, /{mode} holds there"
    return None


def null_kwargs(sample: Sample) -> str | None:
    """A null that templates take for a value: `custom_instructions: null` hides the system message, `enable_thinking: null` is no_think."""
    found = [key for key in ("custom_instructions", "enable_thinking") if key in sample.kwargs and sample.kwargs[key] is None]
    return f"{' and '.join(found)} {'is' if len(found) == 1 else 'are'} null in chat_template_kwargs" if found else None


def wrong_kwargs(sample: Sample) -> str | None:
    """An argument of the wrong kind: templates take any text for true, and pass over instructions that are no text."""
    thinking, told = sample.kwargs.get("enable_thinking"), sample.kwargs.get("custom_instructions")
    if thinking is not None and not isinstance(thinking, bool):
        return f"enable_thinking is {thinking!r}, neither true nor false"
    return None if told is None or isinstance(told, str) else f"custom_instructions is of type {type(told).__name__}, not text"


def other_nulls(sample: Sample) -> str | None:
    """Any other template argument, or argument of a tool call, that is null: Parquet writes one for every key that a row lacks."""
    spoken = [key for key, value in sample.kwargs.items() if value is None and key not in ("custom_instructions", "enable_thinking")]
    if spoken:
        return f"{', '.join(spoken)} null in chat_template_kwargs"
    for number, turn in _answers(sample):
        for call in turn.calls:
            function = (call.get("function") or call) if isinstance(call, dict) else {}
            arguments = function.get("arguments")
            if isinstance(arguments, dict) and None in arguments.values():
                return f"message {number}: a null among the arguments of {function.get('name')}"
    return None


def control_tokens(sample: Sample) -> str | None:
    """Content that spells out control tokens: the tokenizer takes them for real ones, and turns end where they must not."""
    for number, turn in enumerate(sample.turns, start=1):
        found = CONTROL.search(turn.text + turn.reasoning)
        if found:
            return f"message {number} spells out {found[0]}"
    return None


def two_system_texts(sample: Sample) -> str | None:
    """A system message and other `custom_instructions`: templates differ in which of them they keep."""
    texts = {without_flags(text) for text in sample.system_texts}
    return "a system message and other custom_instructions" if len(texts) == 2 else None


def _calls(turn: Turn) -> bool:
    """Whether a tool's result may follow: the turn calls a tool, runs code, or is another result."""
    return turn.role == "tool" or bool(turn.calls) or "<tool_call>" in turn.text or "<code>" in turn.text


def _answers(sample: Sample) -> list[tuple[int, Turn]]:
    return [(number, turn) for number, turn in enumerate(sample.turns, start=1) if turn.role == "assistant"]


def _answer_modes(sample: Sample) -> list[Any]:
    return [mode for mode, turn in zip(sample.modes, sample.turns, strict=True) if turn.role == "assistant"]


def _name(tool: Any) -> str | None:
    function = tool.get("function") or tool if isinstance(tool, dict) else {}
    name = function.get("name") if isinstance(function, dict) else None
    return name if isinstance(name, str) else None


STRUCTURE = Rule("malformed", "error", "write roles and contents as text", malformed)
RULES = (
    Rule("unknown_role", "error", "rename it to one of the known roles", unknown_role),
    Rule("role_order", "error", "put system first, then user and assistant in turn; leave out what has no answer", role_order),
    Rule("empty_answer", "error", "leave the sample out: it teaches to say nothing", empty_answer),
    Rule("empty_question", "error", "leave the sample out", empty_question),
    Rule("broken_reply", "error", "close the think block, write tool calls as JSON with name and arguments", broken_reply),
    Rule("unknown_tool", "error", "give the tool in `tools`, or leave the sample out", unknown_tool),
    Rule(
        "mode_contradiction",
        "error",
        "set enable_thinking or the flag to what the answer does (or --mode for the whole set)",
        mode_contradiction,
    ),
    Rule("null_kwargs", "error", "leave the key out, or write the value", null_kwargs),
    Rule("wrong_kwargs", "error", "write true or false, and text", wrong_kwargs),
    Rule("control_tokens", "error", "take them out of the content, or leave the sample out", control_tokens),
    Rule("two_system_texts", "warning", "keep one of them", two_system_texts),
    Rule("other_nulls", "warning", "leave the key out, or write an empty list", other_nulls),
)
"""Rules that need no tokenizer, in the order of the report."""
