"""The stage `measure-STAGE`: held-out items of generated skills, asked in both modes, answered greedily and sampled; and tasks of suites.

Every model after pretraining is measured alike, the base too, with the same items: so each stage can be compared with the one before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from contracts.config import digest
from contracts.errors import ConfigError
from infra.job import Progress, Summary
from tasks.data import Item, heldout_items, sources_in
from tasks.evaluation import Answered, heldout_texts, load_transformers, model_bits, wilson
from tasks.posttraining.chat_requests import MeasureRequest
from tasks.posttraining.config import ChatTemplate, Mode
from tasks.posttraining.conversation import Sample
from tasks.posttraining.sampling import Answer, Sampler
from tasks.posttraining.skill_rows import question
from tasks.posttraining.skill_scores import DECODINGS, Cell, Decoding, HeldoutText, SkillScores
from tasks.posttraining.task_answers import answer_tasks, prepare_tasks
from tasks.posttraining.verifiers import grade, reflections

MODES: tuple[Mode, ...] = ("think", "no_think")
TEMPERATURE = 1.0
"""Of sampled answers: the model's own distribution."""
_EXAMPLES = 2


def measure(config: Mapping[str, Any], inputs: Mapping[str, Path], out: Path, progress: Progress) -> Summary:
    """Write `skills.json`.

    Args:
        config: a `MeasureRequest`.
        inputs: `model`; and `curate`, whose held-out text bits per byte are taken of, where there is one.

    Raises:
        ConfigError: no skill to measure, one that nobody generates, or more items than are held out.
        InputError: a model or tokenizer that cannot be used, or a task whose items cannot be had; nothing has been asked then.
    """
    request = MeasureRequest.parse(config, "measure")
    if not request.evaluation.skills:
        raise ConfigError("no skill to measure", where="posttraining.evaluation.skills", do="name some, for example [add, reverse]")
    items = {skill: heldout_items(skill, request.evaluation.items, request.seed, request.side) for skill in request.evaluation.skills}
    tasks = prepare_tasks(request, inputs)
    sampler = Sampler.load(inputs["model"], request.template)
    cells, examples = answer_items(sampler, items, request, progress)
    where = {"device": str(sampler.model.device), "precision": str(sampler.model.dtype).removeprefix("torch.")}
    del sampler
    text = heldout_bits(inputs["model"], inputs["curate"], request) if "curate" in inputs and request.heldout_bytes else {}
    answered = answer_tasks(tasks, request, inputs["model"], progress) if tasks else {}
    scores = SkillScores(
        questions=questions_digest(items, request.template, request.evaluation.max_answer_tokens, answered),
        side=request.side, cells=cells, tasks=answered,
        text=text,
        settings={**where, "max_answer_tokens": request.evaluation.max_answer_tokens, "seed": request.seed},
    )  # fmt: skip
    scores.write(out)
    counts = {"items": sum(map(len, items.values())), "answers": sum(cell.items for cell in cells)}
    counts |= {"task_items": sum(len(one.right) for one in answered.values())} if answered else {}
    progress(1, 1, ", ".join(f"{decoding} {scores.pooled(decoding):.3f}" for decoding in DECODINGS))
    evidence: dict[str, Any] = {"cells": [_row(cell, request.confidence) for cell in cells], "examples": examples, "side": request.side}
    evidence |= {"tasks": {name: _task_row(one, request.confidence) for name, one in answered.items()}} if answered else {}
    return Summary(counts=counts, metrics=_metrics(scores), evidence=evidence)


def answer_items(
    sampler: Sampler, items: Mapping[str, Sequence[Item]], request: MeasureRequest, progress: Progress
) -> tuple[list[Cell], list[dict[str, Any]]]:
    """Every cell, and the first answers of each for a reader."""
    cells: list[Cell] = []
    examples: list[dict[str, Any]] = []
    asked = [(skill, mode, decoding) for decoding in DECODINGS for skill in items for mode in MODES]
    for number, (skill, mode, decoding) in enumerate(asked):
        progress(number, len(asked), f"{skill}, {mode}, {decoding}")
        prompts = [Sample(question(item, mode), source=skill, where=item.key) for item in items[skill]]
        temperature = TEMPERATURE if decoding == "sampled" else 0.0
        keys = [f"{request.seed}/{mode}/{item.question}" for item in items[skill]]
        limits = request.evaluation.max_answer_tokens, temperature
        answers = sampler.answers(prompts, *limits, keys, request.evaluation.batch_size)
        cells.append(cell_of(skill, mode, decoding, items[skill], answers))
        examples += [
            {"cell": cells[-1].name, "question": item.question, "reply": answer.text, "answer": item.answer}
            for item, answer in list(zip(items[skill], answers, strict=True))[:_EXAMPLES]
        ]
    return cells, examples


def cell_of(skill: str, mode: Mode, decoding: Decoding, items: Sequence[Item], answers: Sequence[Answer]) -> Cell:
    """The statistics of one cell."""
    grades = [grade(answer.text, item.answer, mode, answer.ended) for item, answer in zip(items, answers, strict=True)]
    return Cell(
        skill=skill, mode=mode, decoding=decoding,
        correct=[int(one.correct) for one in grades], formatted=[int(one.formatted) for one in grades],
        cut=[int(not answer.ended) for answer in answers], tokens=[answer.tokens for answer in answers],
        reflections=[reflections(answer.text) for answer in answers],
    )  # fmt: skip


def questions_digest(
    items: Mapping[str, Sequence[Item]], template: ChatTemplate, max_tokens: int, tasks: Mapping[str, Answered] | None = None
) -> str:
    """Of everything that must be the same for two measurements to be compared."""
    asked = {skill: [item.question for item in found] for skill, found in items.items()}
    whole: list[Any] = [asked, template.model_dump(mode="json"), max_tokens]
    named = {name: [one.prompts, one.samples, one.metric, one.decoding] for name, one in (tasks or {}).items()}
    return digest([*whole, named] if named else whole)[:16]


def heldout_bits(folder: Path, curated: Path, request: MeasureRequest) -> dict[str, HeldoutText]:
    """Bits that the model spends on held-out text of each source: what post-training costs a base model's own trade."""
    model = load_transformers(folder, "float32")
    found = {}
    for source in sources_in(curated / "heldout"):
        texts = heldout_texts(curated, source, seed=request.seed, max_bytes=request.heldout_bytes)
        encoded = [one for one in map(model.tokenizer.encode_scored, texts) if len(one[0]) > 1]
        documents = [ids for ids, _ in encoded]
        bits = model_bits(model, documents, window=request.window, batch_size=32, tick=lambda done, total: None)
        found[source] = HeldoutText(bits=[float(one) for one in bits], bytes=[size for _, size in encoded])
    return found


def _row(cell: Cell, confidence: float) -> dict[str, Any]:
    """A cell as tables show it."""
    return {
        "skill": cell.skill, "mode": cell.mode, "decoding": cell.decoding, "items": cell.items, "accuracy": cell.accuracy,
        "accuracy_interval": wilson(sum(cell.correct), cell.items, confidence), "format": cell.format,
        "format_interval": wilson(sum(cell.formatted), cell.items, confidence), "cut": sum(cell.cut) / cell.items,
        "tokens": sum(cell.tokens) / cell.items, "reflections": sum(cell.reflections) / cell.items,
    }  # fmt: skip


def _task_row(one: Answered, confidence: float) -> dict[str, Any]:
    """A task as tables show it. Of several attempts at an item the share that is right counts; it varies no more than one attempt does."""
    right, items = sum(one.right), len(one.right)
    return {
        "items": items, "attempts": one.samples, "accuracy": right / items, "accuracy_interval": wilson(right, items, confidence),
        "chance": one.chance, "metric": one.metric,
    }  # fmt: skip


def _metrics(scores: SkillScores) -> dict[str, float]:
    found = {f"accuracy.{decoding}": scores.pooled(decoding) for decoding in DECODINGS}
    found |= {f"format.{decoding}": scores.pooled(decoding, lambda cell: cell.format) for decoding in DECODINGS}
    found |= {f"accuracy.{cell.name.replace('/', '.')}": cell.accuracy for cell in scores.cells}
    found |= {f"accuracy.{name.replace('/', '.')}": right / items for name, (right, items) in scores.of_tasks().items()}
    return found | {f"bits_per_byte.{name}": value for name, value in scores.bits_per_byte().items()}
