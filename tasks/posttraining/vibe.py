"""The vibe check: a fixed pack of prompts and what the model says to them, for a person to read before the line goes on.

No benchmark showed that SmolLM3's data had lost every system prompt; talking to the model did (Smol Training Playbook, SFT: vibe-testing).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field

from contracts.config import Config
from infra.job import Progress, Summary
from tasks.posttraining.chat_requests import VibeRequest
from tasks.posttraining.config import Mode
from tasks.posttraining.conversation import Sample
from tasks.posttraining.reply import parse_reply
from tasks.posttraining.sampling import Answer, Sampler

FILE = "vibe.json"


class Talk(NamedTuple):
    """One conversation of the pack: what the system and the user say, the model's own answers in between."""

    name: str
    looks_at: str
    """What a reader should look for."""
    system: str
    turns: tuple[str, ...]


PACK = (
    Talk("persona", "Does it stay the pirate it was asked to be?", "You are a pirate. Answer as one. /no_think", ("Who are you?",)),
    Talk("greeting", "A short greeting, and nothing made up.", "/no_think", ("Hi!",)),
    Talk("identity", "What it says it is.", "/no_think", ("What is your name, and who made you?",)),
    Talk("brief", "One sentence, as the system text asks.", "Answer in one sentence. /no_think", ("What is a language model?",)),
    Talk("turns", "Does the second answer know the first question?", "/no_think", ("My name is Ada.", "What is my name?")),
    Talk("sum", "Reasoning, then one line with the answer 132.", "/think", ("What is 47+85?",)),
    Talk("sum, no reasoning", "The same without reasoning.", "/no_think", ("What is 47+85?",)),
    Talk("switch", "Reasons in the first answer and not in the second.", "/think", ("What is 12+34?", "Reverse 1234. /no_think")),
    Talk(
        "switch back",
        "Reasons in the second answer and not in the first.",
        "/no_think",
        ("Reverse 1234.", "What is 12+34? /think"),
    ),
)
"""Persona, greeting, instructions, several turns, mode switches."""


class Said(Config):
    """One answer."""

    text: str
    """As it was written, think tags included."""
    mode: Mode | None
    """Mode that held."""
    ended: bool
    """The model closed its turn."""
    tokens: int = Field(ge=0)
    """Written."""
    problem: str = ""
    """What is wrong in form: cut, unreadable, empty, or reasoning against its mode; empty: nothing."""


class Heard(Config):
    """One conversation with its answers."""

    name: str
    """Of the conversation in the pack."""
    looks_at: str
    """What a reader should look for."""
    messages: list[dict[str, str]]
    """System, user and assistant in turn, the model's answers among them."""
    answers: list[Said]
    """The model's answers in order."""


class Vibe(Config):
    """vibe.json."""

    talks: list[Heard]
    """The pack."""
    too_long: list[str] = Field(default_factory=list)
    """Conversations that ended early, or were left out, because the model's window holds no more."""

    @property
    def in_form(self) -> float:
        """Share of answers without a problem of form."""
        answers = [answer for talk in self.talks for answer in talk.answers]
        return sum(not answer.problem for answer in answers) / max(1, len(answers))


def vibe(config: Mapping[str, Any], inputs: Mapping[str, Path], out: Path, progress: Progress) -> Summary:
    """Write `vibe.json`: every conversation of the pack, answered greedily, turn by turn.

    Args:
        config: a `VibeRequest`.
        inputs: `model`.

    Raises:
        ConfigError, InputError: a model, tokenizer or template that cannot be used.
    """
    request = VibeRequest.parse(config, "vibe")
    sampler = Sampler.load(inputs["model"], request.template)
    moded = "/no_think" in sampler.renderer.template
    said: dict[str, list[Said]] = {talk.name: [] for talk in PACK}
    messages = {talk.name: [{"role": "system", "content": talk.system}] for talk in PACK}
    mode: Mode | None = request.template.default_mode if moded else None
    too_long: list[str] = []
    for turn in range(max(len(talk.turns) for talk in PACK)):
        going: list[Sample] = []
        for talk in PACK:
            if len(talk.turns) <= turn or talk.name in too_long:
                continue
            asked = Sample([*messages[talk.name], {"role": "user", "content": talk.turns[turn]}], where=talk.name, default_mode=mode)
            if sampler.fits(asked, request.max_answer_tokens):
                going.append(asked)
            else:
                too_long.append(talk.name)
        for sample, answer in zip(going, sampler.answers(going, request.max_answer_tokens), strict=True):
            said[sample.where].append(_said(answer, sample.modes[-1]))
            messages[sample.where] = [*sample.messages, {"role": "assistant", "content": answer.text}]
        progress(turn + 1, 2, f"{len(going)} conversations answered")
    heard = [talk for talk in PACK if said[talk.name]]
    talks = [Heard(name=talk.name, looks_at=talk.looks_at, messages=messages[talk.name], answers=said[talk.name]) for talk in heard]
    vibes = Vibe(talks=talks, too_long=too_long)
    (out / FILE).write_text(json.dumps(vibes.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return Summary(counts={"talks": len(talks), "answers": sum(map(len, said.values()))}, metrics={"in_form": vibes.in_form})


def _said(answer: Answer, mode: Mode | None) -> Said:
    return Said(text=answer.text, mode=mode, ended=answer.ended, tokens=answer.tokens, problem=_problem(answer, mode))


def _problem(answer: Answer, mode: Mode | None) -> str:
    if not answer.ended:
        return "cut by the length limit"
    try:
        reply = parse_reply(answer.text)
    except ValueError as error:
        return str(error)
    if reply.empty:
        return "says nothing"
    if mode is not None and bool(reply.reasoning) != (mode == "think"):
        return f"{'reasons' if reply.reasoning else 'does not reason'}, /{mode} holds"
    return ""
