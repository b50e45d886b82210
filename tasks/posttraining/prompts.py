"""Prompts of reinforcement: read, put into their mode, held to the context, and a share of them kept back."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contracts.errors import InputError
from tasks.posttraining.config import ChatSource, Mode, ReinforcementConfig
from tasks.posttraining.conversation import FLAGS, Sample, without_flags
from tasks.posttraining.rendering import Renderer
from tasks.posttraining.sft_rows import source_file
from tasks.posttraining.verifiers import said_answer

HELDOUT_SHARE, MAX_HELDOUT = 0.1, 256
"""Prompts kept back to see whether a gain is more than learned by heart: enough for +-0.1 at 64, and never dear."""
MIN_HELDOUT = 16
"""Fewer say nothing: then none is kept back."""
COLUMNS = ("answer", "tests")
"""What rewards read beside the prompt."""


@dataclass(frozen=True)
class Prompt:
    """One question whose answer can be verified."""

    sample: Sample
    """The messages up to the answer, in the mode that is trained."""
    columns: Mapping[str, Any]
    """`answer`, `tests`: what is known; None where it is not."""
    reference: Mapping[str, Any] | None
    """A correct assistant message, where the data brings one."""

    @property
    def row(self) -> dict[str, Any]:
        """As TRL's data set has it."""
        return {"prompt": self.sample.messages, **self.columns}


@dataclass(frozen=True)
class Prompts:
    """What a step trains on."""

    train: list[Prompt]
    heldout: list[Prompt]
    longest_prompt: int
    """Tokens, with the beginning of the answer."""
    longest_correct: int | None
    """Tokens of the longest known correct answer, its end of turn included; None: none is known."""
    replies: int
    """Prompts, those kept back included, that bring one."""
    read: int
    """All prompts, those kept back included."""


def prompts_of(step: ReinforcementConfig, renderer: Renderer, chat: Path, needed: Mapping[str, str], context: int) -> Prompts:
    """The prompts of a step.

    Args:
        renderer: tokenizer and template.
        chat: artifact of the stage `chat`; a row is {"messages": [...], "answer": "132"}, with `tests` for code. Where its last message is
            the assistant's, that is a correct answer: its length counts, and a missing `answer` is read from it.
        needed: columns that every prompt must bring -> the reward that asks for it.
        context: tokens that the model can see.

    Raises:
        InputError: no prompts, one without what a reward needs, in another mode, with template arguments or tools of its own, or that
            leaves no room for an answer.
    """
    stage = f"reinforcement-{step.name}"
    found = [
        one for source in step.prompts for one in _read(source, source_file(chat, stage, source), step.mode, "/think" in renderer.template)
    ]
    for column, reward in needed.items():
        lacking = [one for one in found if not one.columns.get(column)]
        if lacking:
            raise InputError(
                f"{len(lacking)} of {len(found)} prompts bring no '{column}', which the reward '{reward}' needs",
                where=lacking[0].sample.where, do=f"add the column, or take a reward that does not need '{column}'",
            )  # fmt: skip
    longest = _longest_prompt(found, renderer, step.max_answer_tokens, context)
    train, heldout = _kept_back(found)
    groups = step.global_batch_size // step.group_size
    if len(train) < groups:
        raise InputError(f"{len(train)} prompts for steps of {groups}", where=stage, do="give more prompts, or lower global_batch_size")
    correct = [_tokens(one, renderer) for one in found if one.reference]
    return Prompts(train, heldout, longest, max(correct, default=None), len(correct), len(found))


def _read(source: ChatSource, path: Path, mode: Mode, moded: bool) -> Iterator[Prompt]:
    read = 0
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if line.strip():
            read += 1
            yield _prompt(_row(line, f"{path.name}:{number}"), source, f"{path.name}:{number}", mode, moded)
    if not read:
        raise InputError(f"source '{source.name}' is empty", where=str(path), do="look at what the linter and the contamination check left")


def _row(line: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise InputError(f"not valid JSON: {error}", where=where, do="correct or remove it") from None
    if not isinstance(row, dict) or not isinstance(row.get("messages"), list):
        raise InputError("no column 'messages'", where=where, do='write {"messages": [...], "answer": "..."}')
    return row


def _prompt(row: dict[str, Any], source: ChatSource, where: str, mode: Mode, moded: bool) -> Prompt:
    messages, reference = list(row["messages"]), None
    if messages and isinstance(messages[-1], Mapping) and messages[-1].get("role") == "assistant":
        reference = messages.pop()
    kwargs = {
        name: value for name, value in (row.get("chat_template_kwargs") or {}).items() if value is not None and name != "enable_thinking"
    }
    if kwargs or row.get("tools"):
        said = ", ".join(kwargs) or "tools"
        raise InputError(
            f"a prompt with template arguments of its own: {said}", where=where, do="write them into the system message; leave tools out"
        )
    sample = Sample(messages, {}, None, source.name, where, mode if moded else None)
    if sample.malformed or not sample.turns or sample.turns[-1].role not in ("user", "tool"):
        raise InputError(sample.malformed or "a prompt that does not end with a question", where=where, do="end it with the user's message")
    if moded:
        sample = _in_mode(sample, mode)
    answer = row.get("answer")
    if answer is None and reference is not None:
        answer = said_answer(str(reference.get("content") or "").rpartition("</think>")[2])
    columns = {"answer": None if answer is None else str(answer), "tests": row.get("tests")}
    return Prompt(sample, columns, reference)


def _in_mode(sample: Sample, mode: Mode) -> Sample:
    """The mode's flag in the system message: GRPO has one set of template arguments for all prompts, none by row.

    Raises:
        InputError: a user's turn switches to the other mode.
    """
    first, *rest = sample.messages
    text = without_flags(sample.turns[0].text) if first["role"] == "system" else ""
    flag = next(flag for flag, known in FLAGS.items() if known == mode)
    told = {"role": "system", "content": f"{text}\n{flag}" if text else flag}
    put = Sample([told, *(rest if first["role"] == "system" else sample.messages)], {}, None, sample.source, sample.where, mode)
    if put.modes[-1] != mode:
        raise InputError(
            f"the question switches to /{put.modes[-1]}, the step trains /{mode}",
            where=sample.where,
            do="take the flag out of the question",
        )
    return put


def _longest_prompt(prompts: Sequence[Prompt], renderer: Renderer, answer: int, context: int) -> int:
    lengths = [len(renderer.encode(renderer.text(one.sample, prompt=True))) for one in prompts]
    longest = max(lengths)
    if longest + answer > context:
        over = sum(length + answer > context for length in lengths)
        raise InputError(
            f"{over} prompts leave no room for {answer} tokens of answer: the longest has {longest} tokens, the model sees {context}",
            where=prompts[lengths.index(longest)].sample.where, do="leave long prompts out, or lower max_answer_tokens",
        )  # fmt: skip
    return longest


def _tokens(prompt: Prompt, renderer: Renderer) -> int:
    """Tokens of the reference answer, its end of turn included."""
    whole = Sample(
        [*prompt.sample.messages, prompt.reference], {}, None, prompt.sample.source, prompt.sample.where, prompt.sample.default_mode
    )
    *_, last = renderer.render(whole).turns()
    return sum(token.trained for token in last)


def _kept_back(prompts: Sequence[Prompt]) -> tuple[list[Prompt], list[Prompt]]:
    """Prompts to train on, and one prompt for each question that is kept back, chosen by its hash; no question is on both sides."""
    by_question: dict[bytes, Prompt] = {}
    for one in prompts:
        by_question.setdefault(one.sample.prompt_digest or one.sample.digest, one)
    count = min(MAX_HELDOUT, int(HELDOUT_SHARE * len(by_question)))
    kept = sorted(by_question)[: count if count >= MIN_HELDOUT else 0]
    away = set(kept)
    train = [one for one in prompts if (one.sample.prompt_digest or one.sample.digest) not in away]
    return train, [by_question[digest] for digest in kept]
