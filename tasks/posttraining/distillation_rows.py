"""Questions of a distillation as tokens: each rendered in its own mode, held to the context, with the data's reply where it is needed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from contracts.errors import InputError
from tasks.posttraining.chat_files import read_chat
from tasks.posttraining.config import ChatSource, DistillationConfig
from tasks.posttraining.mixture import take
from tasks.posttraining.preference_pairs import answer_text
from tasks.posttraining.rendering import Renderer
from tasks.posttraining.sft_rows import source_file


class Question(NamedTuple):
    """One prompt as the model sees it."""

    prompt: list[int]
    """Tokens up to where the model begins to write."""
    reply: list[int]
    """Tokens of the data's own reply, its end of turn included; empty where the student always answers itself."""
    where: str


@dataclass(frozen=True)
class Questions:
    """What a step trains on."""

    rows: list[Question]
    sources: dict[str, int]
    """Name -> questions used."""
    longest: int
    """Tokens of the longest prompt."""
    cut: int
    """Replies cut at `max_answer_tokens`."""

    def dataset(self) -> Any:
        """A `datasets.Dataset` with the columns `prompt` and `reply`."""
        from datasets import Dataset

        return Dataset.from_dict({"prompt": [one.prompt for one in self.rows], "reply": [one.reply for one in self.rows]})


def questions_of(step: DistillationConfig, renderer: Renderer, chat: Path, context: int) -> Questions:
    """The questions of a step.

    Args:
        chat: artifact of the stage `chat`; a last message of the assistant is the data's reply and no part of the question.
        context: tokens that both models can see.

    Raises:
        InputError: a source that is missing or empty, a row that does not end with a question, no reply where some steps need one,
            prompts that leave no room for an answer, or too few for one step.
    """
    rows: list[Question] = []
    sources, cut = {}, 0
    for source in step.prompts:
        found = list(_read(source, step, renderer, source_file(chat, f"distillation-{step.name}", source)))
        used = [found[at] for at in take([1] * len(found), source.weight, f"{step.seed}/{source.name}")]
        sources[source.name] = len(used)
        cut += sum(len(one.reply) > step.max_answer_tokens for one in used)
        rows += [one._replace(reply=one.reply[: step.max_answer_tokens]) for one in used]
    longest = _longest(rows, step, context)
    if len(rows) < step.global_batch_size:
        do = "give more prompts, or lower global_batch_size"
        raise InputError(f"{len(rows)} prompts for steps of {step.global_batch_size}", where=f"distillation-{step.name}", do=do)
    return Questions(rows, sources, longest, cut)


def _read(source: ChatSource, step: DistillationConfig, renderer: Renderer, path: Path) -> Iterator[Question]:
    read = 0
    for sample in read_chat(path, source.mode):
        read += 1
        answered = not sample.malformed and sample.turns[-1].role == "assistant"
        asked = sample.upto(len(sample.messages) - 1) if answered else sample
        if asked.malformed or asked.turns[-1].role not in ("user", "tool"):
            said = asked.malformed or "a prompt that does not end with a question"
            raise InputError(said, where=sample.where, do="end it with the user's message, or with the assistant's reply to it")
        if step.lmbda < 1 and not answered:
            do = "give conversations that end with a reply, or set lmbda: 1"
            raise InputError(f"a prompt without a reply, which lmbda {step.lmbda:g} needs", where=sample.where, do=do)
        prompt = renderer.text(asked, prompt=True)
        reply = renderer.encode(answer_text(renderer, prompt, sample)) if step.lmbda < 1 else []
        yield Question(renderer.encode(prompt), reply, sample.where)
    if not read:
        raise InputError(f"source '{source.name}' is empty", where=str(path), do="look at what the linter and the contamination check left")


def _longest(rows: list[Question], step: DistillationConfig, context: int) -> int:
    worst = max(rows, key=lambda one: len(one.prompt), default=Question([], [], ""))
    if len(worst.prompt) + step.max_answer_tokens > context:
        over = sum(len(one.prompt) + step.max_answer_tokens > context for one in rows)
        raise InputError(
            f"{over} prompts leave no room for {step.max_answer_tokens} tokens of answer: the longest has {len(worst.prompt)} tokens, "
            f"student and teacher see {context}",
            where=worst.where, do="leave long prompts out, or lower max_answer_tokens",
        )  # fmt: skip
    return len(worst.prompt)
