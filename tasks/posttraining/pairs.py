"""The stage `pairs-NAME`: each prompt is answered several times, and a better answer is chosen over a worse one of the parent's.

By default both are the parent's own, one verified and one wrong: such pairs teach where the model itself still goes wrong. Or the chosen
one is a stronger model's, as in SmolLM3's pairs of a strong and a weak model (Smol Training Playbook, preference optimisation), or a judge
sorts by marks. Pairs that are there already are data, and come from the stage `chat`.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from contracts.errors import InputError
from infra.job import Progress, Summary
from infra.store import Workspace
from tasks.posttraining.chat_requests import PairsRequest
from tasks.posttraining.config import PairConfig
from tasks.posttraining.conversation import Sample
from tasks.posttraining.pair_choice import OUTCOMES, Asked, choose
from tasks.posttraining.pair_marks import marks_of
from tasks.posttraining.pair_parts import Shelf
from tasks.posttraining.requests import HELDOUT_PAIRS_FILE, PAIRS_FILE
from tasks.posttraining.sampling import Answer, Sampler
from tasks.posttraining.sft_rows import source_file
from tasks.posttraining.teacher import other_model

_EXAMPLES = 3


def pairs(
    config: Mapping[str, Any], inputs: Mapping[str, Path], out: Path, progress: Progress, workspace: Workspace | None = None
) -> Summary:
    """Write `pairs.jsonl` and `heldout.jsonl`, a pair a line.

    Args:
        config: a `PairsRequest`.
        inputs: `model`, the parent; `chat`, the artifact with the prompts of the step; `strong`, where that is another stage's model.
        workspace: where each batch of answers and of marks is kept as a part, so that what was done before a stop is not done again.

    Raises:
        InputError: a prompt without a known answer where only a verifier sorts, no strong model, or not one pair.
        Unavailable: the judge is down; what it has marked is kept.
    """
    request = PairsRequest.parse(config, "pairs")
    step, how = request.step, request.step.pairs or PairConfig()
    prompts = list(_prompts(request, how, inputs["chat"]))
    shelf, rounds = Shelf(workspace, request.batch_size), 1 + (how.strong is not None) + (how.judge is not None)

    def told(before: int) -> Callable[[int, str], None]:
        return lambda done, note: progress(before * len(prompts) + done, rounds * len(prompts), note)

    folder = inputs["model"]
    if how.strong is not None:  # before the parent has answered anything
        folder = other_model(how.strong, inputs.get("strong"), "strong model", f"preference-{step.name}.pairs.strong")
    own = _all_answers("answers", lambda: Sampler.load(inputs["model"], request.template), prompts, request, how, shelf, told(0))
    strong: list[list[Answer]] = [[] for _ in prompts]
    if how.strong is not None:
        strong = _all_answers("strong", lambda: Sampler.load(folder, request.template), prompts, request, how, shelf, told(1))
    marks: list[list[float | None]] = [[] for _ in prompts]
    judged: dict[str, Any] = {"strong": how.strong} if how.strong else {}
    if how.judge is not None:
        both = [[*mine, *theirs] for mine, theirs in zip(own, strong, strict=True)]
        marks, judged["judges"] = marks_of(how.judge, prompts, both, request.batch_size, shelf, told(rounds - 1))
    table, rows = _paired(prompts, own, strong, marks, how)
    sides = {PAIRS_FILE: [row for row, kept in rows if not kept], HELDOUT_PAIRS_FILE: [row for row, kept in rows if kept]}
    for name, side in sides.items():
        (out / name).write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in side), encoding="utf-8")
    counts = {"prompts": len(prompts), "pairs": len(sides[PAIRS_FILE]), "heldout": len(sides[HELDOUT_PAIRS_FILE])}
    total = sum(table.values(), Counter[str]())
    if not sides[PAIRS_FILE]:
        said = ", ".join(f"{total[name]:,} {name}" for name in OUTCOMES if total[name])
        raise InputError(f"not one pair from {len(prompts):,} prompts ({said})", where=step.name, do=_instead(how, total))
    examples = [row for row, _ in rows[:_EXAMPLES]]
    evidence = {"sources": table, "examples": examples, "global_batch_size": step.global_batch_size, **judged, **counts}
    return Summary(counts=counts, metrics=_metrics(total), evidence=evidence)


def _metrics(total: Counter[str]) -> dict[str, float]:
    graded = total["answers"] - total["ungraded"]
    verified = {"verified_share": total["verified"] / graded} if graded else {}
    return {**verified, "cut_share": total["cut"] / max(1, total["answers"])}


def _instead(how: PairConfig, total: Counter[str]) -> str:
    if total["only_cut"] == max(total[name] for name in OUTCOMES):
        return "raise pairs.max_answer_tokens: most answers are cut before they end; or take a model that ends its turns"
    if how.judge is not None:
        return "sample more answers, or at a higher temperature; or lower pairs.judge.margin"
    if how.strong is not None:
        return "measure both models on these prompts: the strong one should be right where the parent is wrong"
    return "give prompts that the parent answers now right, now wrong; measure it to see which"


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


def _prompts(request: PairsRequest, how: PairConfig, chat: Path) -> Iterator[Asked]:
    for source in request.step.sources:
        path = source_file(chat, f"preference-{request.step.name}", source)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            row, where = json.loads(line), f"{path.name}:{number}"
            messages = list(row["messages"])
            if messages and messages[-1]["role"] == "assistant":
                messages.pop()
            if how.verified and not row.get("answer"):
                do = "add the exact answer as column `answer`, or sort by `strong` or `judge`; without one no answer can be verified"
                raise InputError("a prompt without a known answer", where=where, do=do)
            sample = Sample(messages, row.get("chat_template_kwargs") or {}, row.get("tools"), source.name, where, source.mode)
            yield Asked(sample, str(row["answer"]) if row.get("answer") else None, sample.modes[-1] or source.mode, source.name)


def _all_answers(
    kind: str,
    load: Callable[[], Sampler],
    prompts: Sequence[Asked],
    request: PairsRequest,
    how: PairConfig,
    shelf: Shelf,
    told: Callable[[int, str], None],
) -> list[list[Answer]]:
    """[prompts][samples] of one model, which is loaded once there is something to answer.

    Args:
        kind: of the parts they are kept in; the strong model draws other random numbers than the parent.
    """
    found: list[list[Answer]] = []
    sampler, seed = None, f"{request.step.seed}" if kind == "answers" else f"{kind}/{request.step.seed}"
    for number, start in enumerate(range(0, len(prompts), request.batch_size)):
        batch = prompts[start : start + request.batch_size]
        answers = shelf.take(kind, number)
        if answers is None:
            sampler = sampler or load()
            asked = [one.sample for one in batch for _ in range(how.samples)]
            keys = [f"{seed}/{start + at}/{k}" for at in range(len(batch)) for k in range(how.samples)]
            flat = sampler.answers(asked, how.max_answer_tokens, how.temperature, keys, request.batch_size)
            answers = [flat[at : at + how.samples] for at in range(0, len(flat), how.samples)]
            shelf.keep(kind, number, answers, len(batch))
        found += [[Answer(*one) for one in given] for given in answers]
        who = "" if kind == "answers" else " by the strong model"
        told(len(found), f"{len(found):,} of {len(prompts):,} prompts answered {how.samples} times{who}")
    return found


def _paired(
    prompts: Sequence[Asked],
    own: Sequence[Sequence[Answer]],
    strong: Sequence[Sequence[Answer]],
    marks: Sequence[Sequence[float | None]],
    how: PairConfig,
) -> tuple[dict[str, Counter[str]], list[tuple[dict[str, Any], bool]]]:
    """Counts by source, and (row, held out) of every pair."""
    table: dict[str, Counter[str]] = {one.source: Counter() for one in prompts}
    rows: list[tuple[dict[str, Any], bool]] = []
    seen: set[bytes] = set()
    for one, mine, theirs, marked in zip(prompts, own, strong, marks, strict=True):
        choice = choose(one, mine, theirs, marked, how)
        outcome = "repeated" if one.sample.digest in seen else choice.outcome
        seen.add(one.sample.digest)
        table[one.source].update({outcome: 1, **choice.counts})
        if outcome == "pair":
            sides = {name: [{"role": "assistant", "content": getattr(choice, name)}] for name in ("chosen", "rejected")}
            kwargs = {"chat_template_kwargs": dict(one.sample.kwargs)} if one.sample.kwargs else {}
            rows.append(({"prompt": one.sample.messages, **sides, **kwargs}, _kept_back(one.sample, how.heldout_share)))
    return table, rows


def _kept_back(sample: Sample, share: float) -> bool:
    """By a hash of the question, so that one asked in both modes is on one side."""
    number = int.from_bytes(hashlib.blake2b(sample.prompt_digest or sample.digest, digest_size=8).digest(), "big")
    return number / 2**64 < share
