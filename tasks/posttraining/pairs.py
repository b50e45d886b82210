"""The stage `pairs-NAME`: the parent answers each prompt several times; a verified answer is chosen over a wrong one of its own.

On-policy pairs teach where the model itself still goes wrong. Pairs of a strong and a weak model, which SmolLM3 used, are data and come
from the stage `chat` (Smol Training Playbook, preference optimisation).
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from contracts.errors import InputError, IntegrityError
from infra.job import Progress, Summary
from infra.store import Workspace
from tasks.posttraining.chat_requests import PairsRequest
from tasks.posttraining.config import Mode, PairConfig
from tasks.posttraining.conversation import Sample
from tasks.posttraining.requests import HELDOUT_PAIRS_FILE, PAIRS_FILE
from tasks.posttraining.sampling import Answer, Sampler
from tasks.posttraining.sft_rows import source_file
from tasks.posttraining.verifiers import grade

ANSWERS_FILE = "answers.json"
OUTCOMES = ("pair", "all_wrong", "all_right", "only_cut", "repeated")
"""What came of a prompt: a pair; no verified answer; no wrong one; no wrong one that ended; asked before."""
_EXAMPLES = 3


class Asked(NamedTuple):
    """One prompt with what is needed to judge its answers."""

    sample: Sample
    """The messages up to the answer."""
    answer: str
    mode: Mode
    source: str


def pairs(
    config: Mapping[str, Any], inputs: Mapping[str, Path], out: Path, progress: Progress, workspace: Workspace | None = None
) -> Summary:
    """Write `pairs.jsonl` and `heldout.jsonl`, a pair a line.

    Args:
        config: a `PairsRequest`.
        inputs: `model`, the parent; `chat`, the artifact with the prompts of the step.
        workspace: where each batch of answers is kept as a part, so that what was answered before a stop is not answered again.

    Raises:
        InputError: a prompt without a known answer, or not one pair.
    """
    request = PairsRequest.parse(config, "pairs")
    how = request.step.pairs or PairConfig()
    prompts = list(_prompts(request, inputs["chat"]))
    sampler = Sampler.load(inputs["model"], request.template)
    answers = _all_answers(sampler, prompts, request, how, _Shelf(workspace, request.batch_size), progress)
    table, rows, examples = _paired(prompts, answers, how)
    sides = {PAIRS_FILE: [row for row, kept in rows if not kept], HELDOUT_PAIRS_FILE: [row for row, kept in rows if kept]}
    for name, side in sides.items():
        (out / name).write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in side), encoding="utf-8")
    total = Counter[str]()
    for row in table.values():
        total.update(row)
    counts = {"prompts": len(prompts), "pairs": len(sides[PAIRS_FILE]), "heldout": len(sides[HELDOUT_PAIRS_FILE])}
    if not sides[PAIRS_FILE]:
        said = ", ".join(f"{total[name]:,} {name}" for name in OUTCOMES if total[name])
        do = "give prompts that the parent answers now right, now wrong; measure it to see which"
        raise InputError(f"not one pair from {len(prompts):,} prompts ({said})", where=request.step.name, do=do)
    metrics = {"verified_share": total["verified"] / max(1, total["answers"]), "cut_share": total["cut"] / max(1, total["answers"])}
    evidence = {"sources": table, "examples": examples, "global_batch_size": request.step.global_batch_size, **counts}
    return Summary(counts=counts, metrics=metrics, evidence=evidence)


def pairs_problems(evidence: Mapping[str, Any]) -> list[str]:
    """The gate: pairs that are too few for a single step, and sources that gave none at all."""
    found = []
    if evidence["pairs"] < evidence["global_batch_size"]:
        found.append(f"{evidence['pairs']:,} pairs do not fill one step of {evidence['global_batch_size']:,}; give more prompts or samples")
    for name, row in evidence["sources"].items():
        if not row.get("pair"):
            said = ", ".join(f"{row[outcome]:,} {outcome}" for outcome in OUTCOMES if row.get(outcome))
            found.append(f"{name}: no pair from its prompts ({said}); leave it out, or sample more answers")
    return found


def _prompts(request: PairsRequest, chat: Path) -> Iterator[Asked]:
    for source in request.step.sources:
        path = source_file(chat, f"preference-{request.step.name}", source)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            row, where = json.loads(line), f"{path.name}:{number}"
            messages = list(row["messages"])
            if messages and messages[-1]["role"] == "assistant":
                messages.pop()
            if not row.get("answer"):
                do = "add the exact answer as column `answer`; without one no answer can be verified"
                raise InputError("a prompt without a known answer", where=where, do=do)
            sample = Sample(messages, row.get("chat_template_kwargs") or {}, row.get("tools"), source.name, where, source.mode)
            yield Asked(sample, str(row["answer"]), sample.modes[-1] or source.mode, source.name)


class _Shelf:
    """Batches of answers that are kept in a workspace, where there is one. A damaged one is made again."""

    def __init__(self, workspace: Workspace | None, batch_size: int) -> None:
        self._workspace, self._size = workspace, batch_size
        self._sealed = {part.name: part for part in workspace.parts()} if workspace else {}

    def take(self, number: int) -> list[list[Answer]] | None:
        """What was kept of a batch; None: nothing, or nothing whole."""
        part = self._sealed.get(self._name(number))
        if part is None or self._workspace is None:
            return None
        with tempfile.TemporaryDirectory(prefix="pairs-") as folder:
            try:
                file = self._workspace.fetch(part, Path(folder)) / ANSWERS_FILE
            except IntegrityError:
                self._workspace.drop(part)
                return None
            return [[Answer(*one) for one in prompt] for prompt in json.loads(file.read_text(encoding="utf-8"))]

    def keep(self, number: int, answers: Sequence[Sequence[Answer]]) -> None:
        """Put a batch away."""
        if self._workspace is None:
            return
        folder = Path(tempfile.mkdtemp(prefix="pairs-"))
        (folder / ANSWERS_FILE).write_text(json.dumps(answers, ensure_ascii=False), encoding="utf-8")
        self._workspace.put(self._name(number), folder, {"prompts": len(answers)})
        shutil.rmtree(folder)

    def _name(self, number: int) -> str:
        """The size is part of the name: an attempt with another one cuts other batches."""
        return f"answers-{self._size}-{number:06d}"


def _all_answers(
    sampler: Sampler, prompts: Sequence[Asked], request: PairsRequest, how: PairConfig, shelf: _Shelf, progress: Progress
) -> list[list[Answer]]:
    """[prompts][samples]"""
    found: list[list[Answer]] = []
    for number, start in enumerate(range(0, len(prompts), request.batch_size)):
        batch = prompts[start : start + request.batch_size]
        answers = shelf.take(number)
        if answers is None:
            asked = [one.sample for one in batch for _ in range(how.samples)]
            keys = [f"{request.step.seed}/{start + at}/{k}" for at in range(len(batch)) for k in range(how.samples)]
            flat = sampler.answers(asked, how.max_answer_tokens, how.temperature, keys, request.batch_size)
            answers = [flat[at : at + how.samples] for at in range(0, len(flat), how.samples)]
            shelf.keep(number, answers)
        found += answers
        progress(len(found), len(prompts), f"{len(found):,} of {len(prompts):,} prompts answered {how.samples} times")
    return found


def _paired(
    prompts: Sequence[Asked], answers: Sequence[Sequence[Answer]], how: PairConfig
) -> tuple[dict[str, Counter[str]], list[tuple[dict[str, Any], bool]], list[dict[str, Any]]]:
    """Counts by source, (row, held out) of every pair, and a few for the report."""
    table: dict[str, Counter[str]] = {one.source: Counter() for one in prompts}
    rows: list[tuple[dict[str, Any], bool]] = []
    seen: set[bytes] = set()
    for one, given in zip(prompts, answers, strict=True):
        right = [answer for answer in given if all(grade(answer.text, one.answer, one.mode, answer.ended))]
        wrong = [answer for answer in given if answer not in right]
        ended = [answer for answer in wrong if answer.ended]
        outcome = "repeated" if one.sample.digest in seen else _outcome(right, wrong, ended)
        seen.add(one.sample.digest)
        table[one.source].update(
            {outcome: 1, "answers": len(given), "verified": len(right), "cut": sum(not answer.ended for answer in given)}
        )
        if outcome == "pair":
            sides = {name: [{"role": "assistant", "content": side[0].text}] for name, side in (("chosen", right), ("rejected", ended))}
            kwargs = {"chat_template_kwargs": dict(one.sample.kwargs)} if one.sample.kwargs else {}
            rows.append(({"prompt": one.sample.messages, **sides, **kwargs}, _kept_back(one.sample, how.heldout_share)))
    return table, rows, [row for row, _ in rows[:_EXAMPLES]]


def _outcome(right: Sequence[Answer], wrong: Sequence[Answer], ended: Sequence[Answer]) -> str:
    if right and ended:
        return "pair"
    return "all_wrong" if not right else "only_cut" if wrong else "all_right"


def _kept_back(sample: Sample, share: float) -> bool:
    """By a hash of the question, so that one asked in both modes is on one side."""
    number = int.from_bytes(hashlib.blake2b(sample.prompt_digest or sample.digest, digest_size=8).digest(), "big")
    return number / 2**64 < share
