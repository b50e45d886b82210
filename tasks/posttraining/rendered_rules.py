"""Rules over one sample as the model sees it: nothing lost on the way into text, nothing in the mask but what the model writes."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tasks.posttraining.conversation import Sample, Turn, without_flags
from tasks.posttraining.rendering import Renderer, Rendering
from tasks.posttraining.reply import parse_reply, reply_of
from tasks.posttraining.rules import Severity


class Seen(NamedTuple):
    """A sample with its rendering, and what made it."""

    sample: Sample
    rendering: Rendering
    renderer: Renderer
    length: int | None
    """Longest sequence in tokens; None: nothing is cut."""


class RenderedRule(NamedTuple):
    """A rule over a rendered sample."""

    name: str
    severity: Severity
    do: str
    check: Callable[[Seen], str | None]


def system_lost(seen: Seen) -> str | None:
    """A line of the system text that is not in the first turn the model sees (the bug that emptied all of SmolLM3's)."""
    first = "".join(token.text for token in next(seen.rendering.turns()))
    for text in seen.sample.system_texts:
        for line in without_flags(text).splitlines():
            if line.strip() and line.strip() not in first:
                return f"not in the system turn: {line.strip()[:80]!r}"
    return None


def all_masked(seen: Seen) -> str | None:
    """No token carries loss, in the whole sample or in what the length leaves of it."""
    if not seen.rendering.trained:
        return "no token carries loss"
    if seen.length is not None and not sum(seen.rendering.mask[: seen.length]):
        return f"no token of the first {seen.length:,} carries loss ({len(seen.rendering.ids):,} in all)"
    return None


def round_trip(seen: Seen) -> str | None:
    """A turn that inference would not give back: another prompt, merged tokens, another mask, or a reply that parses to something else."""
    sample, renderer, whole, reached = seen.sample, seen.renderer, seen.rendering, 0
    for index, turn in enumerate(sample.turns):
        if turn.role != "assistant":
            continue
        prompt = renderer.text(sample.upto(index), prompt=True) if index else ""
        ids = renderer.encode(prompt)
        begin = len(ids)
        shown = whole
        if not (whole.text.startswith(prompt) and any(whole.mask[begin : begin + 1])):
            shown = renderer.render(sample.upto(index + 1))  # templates that drop earlier reasoning show a turn as it was written only here
        end = next((at for at in range(begin, len(shown.ids)) if not shown.mask[at]), len(shown.ids))
        said = _prompt_problem(shown, prompt, ids) or _reply_problem(renderer, shown.ids[begin:end], turn)
        if said is None and shown is whole and any(whole.mask[reached:begin]):
            said = "what carries loss begins before what the model writes"
        if said:
            return f"message {index + 1}: {said}"
        reached = end
    return None


def _prompt_problem(shown: Rendering, prompt: str, ids: list[int]) -> str | None:
    if not shown.text.startswith(prompt):
        return "the prompt at inference is not how the training text begins"
    return None if shown.ids[: len(ids)] == ids else "its first characters merge with the prompt into one token"


def _reply_problem(renderer: Renderer, ids: list[int], turn: Turn) -> str | None:
    """What is wrong with the span that carries loss, read as if a model had written it."""
    if not ids:
        return "what the model writes carries no loss"
    if not renderer.is_special(ids[-1]):
        return (
            f"it does not end with a control token but with {renderer.written(ids[-1:])!r}: the model would learn another end of its turn"
        )
    try:
        got, wanted = parse_reply(renderer.written(ids)), reply_of(turn)
    except ValueError as error:
        return str(error)
    changed = next((field for field in got._fields if getattr(got, field) != getattr(wanted, field)), None)
    return f"{changed} comes back changed" if changed else None


RENDERED_RULES = (
    RenderedRule(
        "system_lost", "error", "look at the sample's template arguments and at the template: the model never sees this text", system_lost
    ),
    RenderedRule("all_masked", "error", "raise the length, or leave the sample out: it teaches nothing", all_masked),
    RenderedRule("round_trip", "error", "correct the answer, or the template's markers", round_trip),
)
"""Rules that need a tokenizer and a template."""
