"""Preference pairs from files, checked as the model will see them: two different answers that both fit behind their prompt."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from contracts.errors import InputError
from tasks.posttraining.config import ChatSource, PreferenceConfig
from tasks.posttraining.conversation import Sample
from tasks.posttraining.mixture import take
from tasks.posttraining.rendering import Renderer
from tasks.posttraining.requests import HELDOUT_PAIRS_FILE, PAIRS_FILE, PreferenceRequest
from tasks.posttraining.sft_rows import source_file

HELDOUT_SHARE, MOST_HELDOUT = 0.1, 512
"""Of pairs that come from a set: kept back by a hash of the prompt, and never more than this many."""
_SAY = 'write one {"prompt": [messages], "chosen": [messages], "rejected": [messages]} a line'


class Pair(NamedTuple):
    """One prompt with a better and a worse answer, as the template writes them: TRL would turn template arguments that only some rows
    have into nulls for all others."""

    prompt: str
    """Up to where the model begins to write."""
    chosen: str
    """The better answer, its end-of-turn token included."""
    rejected: str
    """The worse one."""


@dataclass(frozen=True)
class PairRow:
    """A pair as a file has it."""

    prompt: list[dict[str, Any]]
    chosen: list[dict[str, Any]]
    rejected: list[dict[str, Any]]
    kwargs: Mapping[str, Any]
    """Handed to the template."""
    where: str = ""

    def written(self, renderer: Renderer) -> Pair:
        """The pair as text.

        Raises:
            InputError: the template refuses it, or writes another prompt once there is an answer.
        """
        prompt = renderer.text(self._sample([]), prompt=True)
        return Pair(prompt, *(answer_text(renderer, prompt, self._sample(answer)) for answer in (self.chosen, self.rejected)))

    def _sample(self, answer: list[dict[str, Any]]) -> Sample:
        return Sample([*self.prompt, *answer], self.kwargs, where=self.where)


def answer_text(renderer: Renderer, prompt: str, answered: Sample) -> str:
    """What the template writes behind `prompt` once it is answered, up to the end-of-turn token.

    Raises:
        InputError: the template refuses the conversation, or writes another prompt once there is an answer.
    """
    text = renderer.text(answered)
    if not text.startswith(prompt):
        do = "give answers that follow the mode of their prompt, and a template that writes earlier turns the same way"
        raise InputError("the prompt reads differently once it is answered", where=answered.where, do=do)
    told, end = text.removeprefix(prompt), renderer.tokenizer.eos_token
    return str(told[: told.rindex(end) + len(end)] if end in told else told + end)


@dataclass(frozen=True)
class PairData:
    """What a step trains on, and what it is judged by."""

    train: list[Pair]
    heldout: list[Pair]
    identical: int
    """Left out: both answers read the same."""
    too_long: int
    """Left out: the prompt alone fills the context."""
    cut: int
    """Pairs of which an answer is cut."""


def pair_data(request: PreferenceRequest, renderer: Renderer, inputs: Mapping[str, Path]) -> PairData:
    """The step's pairs: those of the artifact `pairs` where it makes its own, else its sources in `chat`.

    Raises:
        InputError: no pairs, a row that is none, or none that can be trained on, and why.
    """
    if request.step.pairs is not None:
        read = list(read_pairs(inputs["pairs"] / PAIRS_FILE))
        kept = list(read_pairs(inputs["pairs"] / HELDOUT_PAIRS_FILE))
    else:
        read, kept = [], []
        for source in request.step.sources:
            mine, back = _shared_out(source, request, source_file(inputs["chat"], request.stage, source))
            read += mine
            kept += back
    if not read:
        do = "sample more prompts or answers; a pair needs one right and one wrong answer to a prompt"
        raise InputError("there are no preference pairs", where=request.stage, do=do)
    train, counts = _usable(_drawn(read, request.step), renderer, request.step.max_length)
    if not train:
        raise InputError(
            f"none of {len(read)} pairs can be trained on: {counts['identical']} hold the same answer twice, "
            f"{counts['too_long']} have a prompt of {request.step.max_length} tokens or more",
            where=request.stage, do="look at the pairs; raise max_length where prompts are long",
        )  # fmt: skip
    return PairData(train, _usable(kept, renderer, request.step.max_length)[0], **counts)


def _drawn(pairs: list[PairRow], step: PreferenceConfig) -> list[PairRow]:
    if step.max_pairs is None or step.max_pairs >= len(pairs):
        return pairs
    return [pairs[index] for index in take([1] * len(pairs), step.max_pairs / len(pairs), f"{step.seed}/pairs")]


def read_pairs(path: Path) -> Iterator[PairRow]:
    """Pairs of a file of JSON lines; an empty file has none.

    Raises:
        InputError: not there, or a row without prompt and two answers; names file and line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the pairs cannot be read: {error}", where=str(path), do="run the stage that makes them again") from None
    for number, line in enumerate(lines, start=1):
        place = f"{path.name}:{number}"
        try:
            row = json.loads(line)
        except ValueError as error:
            raise InputError(f"not valid JSON: {error}", where=place, do=_SAY) from None
        yield _pair(row, place)


def _pair(row: Any, place: str) -> PairRow:
    """TRL knows pairs with and without a prompt of their own; without one, chosen and rejected begin with it."""
    if not isinstance(row, Mapping) or not all(isinstance(row.get(name), list) and row[name] for name in ("chosen", "rejected")):
        raise InputError("no pair: `chosen` and `rejected` are lists of messages", where=place, do=_SAY)
    prompt, chosen, rejected = row.get("prompt"), row["chosen"], row["rejected"]
    if not isinstance(prompt, list):
        shared = sum(1 for _ in _while_equal(chosen, rejected))
        shared = min(shared, len(chosen) - 1, len(rejected) - 1)
        prompt, chosen, rejected = chosen[:shared], chosen[shared:], rejected[shared:]
    if not prompt:
        raise InputError("a pair without a prompt", where=place, do=_SAY)
    kwargs = {name: value for name, value in (row.get("chat_template_kwargs") or {}).items() if value is not None}
    return PairRow(prompt, chosen, rejected, kwargs, place)


def _while_equal(left: list[Any], right: list[Any]) -> Iterator[Any]:
    for one, other in zip(left, right, strict=False):
        if one != other:
            return
        yield one


def _shared_out(source: ChatSource, request: PreferenceRequest, path: Path) -> tuple[list[PairRow], list[PairRow]]:
    """Pairs of a source to train on and to keep back; all pairs of one prompt go the same way."""
    every = list(read_pairs(path))
    if not every:
        raise InputError(f"source '{source.name}' is empty", where=str(path), do="look at what the linter and the contamination check left")
    ranks = {_rank(pair.prompt): pair for pair in every}
    kept = set(sorted(ranks)[: min(round(len(ranks) * HELDOUT_SHARE), MOST_HELDOUT)])
    train = [pair for pair in every if _rank(pair.prompt) not in kept]
    chosen = take([1] * len(train), source.weight, f"{request.step.seed}/{source.name}")
    return [train[index] for index in chosen], [pair for pair in every if _rank(pair.prompt) in kept]


def _rank(prompt: list[dict[str, Any]]) -> str:
    return hashlib.blake2b(json.dumps(prompt, sort_keys=True, ensure_ascii=False).encode(), digest_size=12).hexdigest()


def _usable(rows: list[PairRow], renderer: Renderer, limit: int) -> tuple[list[Pair], dict[str, int]]:
    counts = {"identical": 0, "too_long": 0, "cut": 0}
    found = []
    for row in rows:
        pair = row.written(renderer)
        prompt, *answers = (len(renderer.encode(text)) for text in pair)
        if pair.chosen == pair.rejected:
            counts["identical"] += 1
        elif prompt >= limit:
            counts["too_long"] += 1
        else:
            counts["cut"] += any(prompt + answer > limit for answer in answers)
            found.append(pair)
    return found, counts
