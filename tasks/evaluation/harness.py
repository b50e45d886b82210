"""Tasks through lm-eval: items built here and lm-eval's own tasks alike, all data in hand before the first question is asked."""

from __future__ import annotations

import hashlib
import json
import logging
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from contracts.errors import ConfigError, InputError
from tasks.evaluation.adapter import Adapter
from tasks.evaluation.chat import Chat
from tasks.evaluation.formulation import put, recommended_samples
from tasks.evaluation.loading import Model
from tasks.evaluation.offline_item import Item
from tasks.evaluation.scores import Answered, distinct
from tasks.evaluation.suites import BY_LENGTH, SuiteTask

_FIRST_LINE = 200


@dataclass(frozen=True)
class Prepared:
    """One task of a suite, ready to run: its parts in lm-eval's form, and which documents of each are asked."""

    task: SuiteTask
    parts: dict[str, Any]
    """Name of lm-eval's -> its task object."""
    chosen: dict[str, list[int]]
    """Part -> the documents asked; a part that is not among them is asked whole."""
    few_shot: list[str]
    """Ids of the worked examples in every prompt, in order."""
    decoding: dict[str, float] = field(default_factory=dict)
    """temperature and top_p of sampled answers; empty: the likeliest is taken."""

    def drawn(self, temperature: float, top_p: float) -> Prepared:
        """The same with sampled answers."""
        for part in self.parts.values():
            part.config.generation_kwargs.update(do_sample=True, temperature=temperature, top_p=top_p)
        return replace(self, decoding={"temperature": temperature, "top_p": top_p})


@dataclass(frozen=True)
class How:
    """Settings of a run."""

    batch_size: int
    seed: int
    chat: Chat | None = None
    """Put every question as a conversation."""


@dataclass(frozen=True)
class Reader:
    """For whom lm-eval builds items of a given length."""

    tokenizer: Path
    """Folder of the model's tokenizer."""
    window: int
    """Longest sequence in tokens that the model sees."""

    @classmethod
    def of(cls, folder: Path) -> Reader:
        """The model of a Hugging Face folder."""
        return cls(folder, int(json.loads((folder / "config.json").read_text())["max_position_embeddings"]))


def from_items(name: str, task: SuiteTask, items: Sequence[Item]) -> Prepared:
    """A task over items that were built here."""
    _quiet()
    from lm_eval.api.task import ConfigurableTask

    made = Prepared(task, {name: ConfigurableTask(config=put(name, task, items))}, {}, [])
    return made.drawn(task.temperature, task.top_p) if task.samples != 1 else made


def from_harness(
    tasks: Mapping[str, SuiteTask], *, limit: int | None, seed: int, run_generated_code: bool, reader: Reader | None = None
) -> dict[str, Prepared]:
    """lm-eval's own tasks with their data: from this machine's cache, or from wherever the `datasets` library may look.

    Args:
        reader: for whom tasks with `lengths` are built; without one they cannot be.

    Raises:
        ConfigError: a task would run generated code, which was not allowed.
        InputError: the data of a task cannot be had; names every such task, before any is run.
    """
    unsafe = [name for name, task in tasks.items() if task.runs_code]
    if unsafe and not run_generated_code:
        raise ConfigError(
            f"{', '.join(unsafe)} would run here what the model writes",
            do="in a container without network set evaluation.run_generated_code=true, or leave the task out with evaluation.tasks",
        )
    if not tasks:
        return {}
    _quiet()
    import numpy as np
    from lm_eval.tasks import TaskManager

    named = any(not isinstance(task.harness[task.formulation], dict) for task in tasks.values())
    managers: dict[tuple[int, ...], Any] = {}  # one for all tasks but those with lengths: reading lm-eval's index takes 20 seconds
    found: dict[str, Prepared] = {}
    missing: dict[str, str] = {}
    for name, task in tasks.items():
        wanted = task.harness[task.formulation]
        specs = [{"task": name, **wanted}] if isinstance(wanted, dict) else [wanted] if isinstance(wanted, str) else wanted
        try:
            lengths = _lengths(task, reader)
            if lengths not in managers:
                told = {"tokenizer": str(reader.tokenizer), "max_seq_lengths": list(lengths)} if reader and lengths else None
                managers[lengths] = TaskManager(include_defaults=named, metadata=told)
            random.seed(seed)  # RULER draws from the global state
            np.random.seed(seed)
            parts = dict(managers[lengths].load(list(specs))["tasks"])
            one = _prepared(task, parts, min(filter(None, (task.items, limit)), default=None), seed)
            found[name] = one.drawn(task.temperature, task.top_p) if task.samples != 1 else one
        except Exception as error:  # whatever a task's loading code raises: its data is not to be had
            missing[name] = (str(error).strip().splitlines() or [repr(error)])[0][:_FIRST_LINE]
    if missing:
        reasons = "; ".join(f"{name} ({why})" for name, why in missing.items())
        raise InputError(
            f"nothing was run: {len(missing)} of {len(tasks)} tasks cannot be reached: {reasons}",
            do="fetch their data into this machine's cache where there is a network (HF_HOME), or name other tasks",
        )
    return found


def run(model: Model, tasks: Mapping[str, Prepared], how: How) -> dict[str, Answered]:
    """Ask every task; tasks of several samples an item are asked so often, each time with another seed, and averaged by item."""
    results: dict[str, list[list[dict[str, Any]]]] = {}
    rounds = {name: _samples(one) for name, one in tasks.items()}
    for number in range(max(rounds.values(), default=0)):
        now = {name: one for name, one in tasks.items() if rounds[name] > number}
        for name, rows in _ask(model, now, replace(how, seed=how.seed + number)).items():
            results.setdefault(name, []).append(rows)
    return {name: _answered(tasks[name], found) for name, found in results.items()}


def _prepared(task: SuiteTask, parts: dict[str, Any], limit: int | None, seed: int) -> Prepared:
    from lm_eval.api.samplers import FirstNSampler

    shots: list[str] = []
    for part in parts.values():
        part.set_config("num_fewshot", task.few_shot)
        if task.few_shot:
            own = part.fewshot_cfg.samples is not None and part.fewshot_cfg.split is None
            part.sampler = FirstNSampler(list(part.fewshot_docs()))
            shots = [f"{'samples' if own else part.fewshot_cfg.split or 'docs'}/{number}" for number in range(task.few_shot)]
    places = [(name, number) for name, part in sorted(parts.items()) for number in range(len(part.eval_docs))]
    if limit is None or limit >= len(places):
        return Prepared(task, parts, {}, shots)
    chosen: dict[str, list[int]] = {}
    for name, number in sorted(random.Random(seed).sample(places, limit)):
        chosen.setdefault(name, []).append(number)
    return Prepared(task, {name: part for name, part in parts.items() if name in chosen}, chosen, shots)


def _lengths(task: SuiteTask, reader: Reader | None) -> tuple[int, ...]:
    """Lengths that the model sees.

    Raises:
        ValueError: none of them, or no tokenizer to build the items with, or one that would run code of its own.
    """
    if not task.lengths:
        return ()
    if reader is None:
        raise ValueError("its items are built for a tokenizer, and none was given")
    config = reader.tokenizer / "tokenizer_config.json"
    if config.is_file() and "auto_map" in json.loads(config.read_text()):
        raise ValueError("the tokenizer would run code of its own")
    found = tuple(length for length in task.lengths if length <= reader.window)
    if not found:
        raise ValueError(f"its items have {min(task.lengths):,} tokens and more, and the model sees {reader.window:,}")
    return found


def _samples(one: Prepared) -> int:
    if one.task.samples != "recommended":
        return one.task.samples
    return recommended_samples(sum(len(one.chosen.get(name, part.eval_docs)) for name, part in one.parts.items()))


def _ask(model: Model, tasks: Mapping[str, Prepared], how: How) -> dict[str, list[dict[str, Any]]]:
    """Rows of lm-eval's samples by task."""
    from lm_eval.evaluator import evaluate

    parts: dict[str, Any] = {}
    chosen: dict[str, list[int]] = {}
    for one in tasks.values():
        for name, part in one.parts.items():
            part.set_fewshot_seed(seed=how.seed)
            parts[name] = part
            if name in one.chosen:
                chosen[name] = one.chosen[name]
    found = evaluate(
        lm=Adapter(model, how.batch_size, how.seed, how.chat),
        apply_chat_template=how.chat is not None,
        task_dict={"tasks": parts},
        samples=chosen or None,
        bootstrap_iters=0,
        log_samples=True,
        confirm_run_unsafe_code=any(one.task.runs_code for one in tasks.values()),
    )
    assert found is not None  # None is what the ranks above 0 get; there is one rank
    return {
        name: [row for part in sorted(one.parts) for row in found["samples"][part] if one.task.filter in (None, row["filter"])]
        for name, one in tasks.items()
    }


def _answered(one: Prepared, rounds: Sequence[Sequence[Mapping[str, Any]]]) -> Answered:
    right = [[_right(row, one.task.metric) for row in rows] for rows in rounds]
    first = rounds[0]
    items = distinct(_digest([row["arguments"], row["target"]]) for row in first)
    choices = [len(row["arguments"]) for row in first]
    generative = one.task.generative
    return Answered(
        items=items,
        right=[sum(values) / len(values) for values in zip(*right, strict=True)],
        samples=len(rounds),
        chance=0.0 if generative else sum(1 / number for number in choices) / len(choices),
        generative=generative,
        formulation=one.task.formulation,
        metric=one.task.metric,
        few_shot=one.few_shot,
        prompts=_digest(items),
        decoding=one.decoding,
    )


def _right(row: Mapping[str, Any], metric: str) -> float:
    return float(row[str(row["doc"]["max_length"])] if metric == BY_LENGTH else row[metric])


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _quiet() -> None:
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
