"""Minimal pairs through lm-eval: local task files, no download, one model already in memory."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tasks.evaluation.intervals import wilson
from tasks.evaluation.loading import LoadedModel
from tasks.evaluation.pairs import Pair
from tasks.evaluation.results import TaskResult

_METRIC = "acc"


def write_task(folder: Path, name: str, pairs: Sequence[Pair]) -> str:
    """Write `name`.yaml and `name`.jsonl for lm-eval's task manager; returns the digest of the items.

    The raw log-likelihood of the whole choice decides: the two choices of a pair are of a length, and length-normalised
    accuracy would favour the longer one.
    """
    rows = "".join(json.dumps(pair.row(), sort_keys=True) + "\n" for pair in pairs)
    (folder / f"{name}.jsonl").write_text(rows)
    task = {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(folder / f"{name}.jsonl")}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{context}}",
        "doc_to_choice": "choices",
        "doc_to_target": "label",
        "target_delimiter": "",
        "num_fewshot": 0,
        "metric_list": [{"metric": _METRIC, "aggregation": "mean", "higher_is_better": True}],
        "metadata": {"version": 1.0},
    }
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(task, sort_keys=False))
    return hashlib.sha256(rows.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class How:
    """Settings of a run of the harness."""

    batch_size: int
    seed: int
    confidence: float


def run_tasks(
    loaded: LoadedModel, tasks: Mapping[str, Sequence[Pair]], dropped: Mapping[str, int], folder: Path, how: How
) -> dict[str, TaskResult]:
    """Score every task with lm-eval and put a Wilson interval on its accuracy.

    Args:
        tasks: items by task name.
        dropped: items left out before, by task name.
        folder: where task files and the dataset cache may lie.
    """
    if not tasks:
        return {}
    digests = {name: write_task(folder, name, pairs) for name, pairs in tasks.items()}
    found = _evaluate(loaded, list(tasks), folder, how)
    results: dict[str, TaskResult] = {}
    for name in tasks:
        right = [float(sample[_METRIC]) for sample in found["samples"][name]]
        low, high = wilson(int(sum(right)), len(right), how.confidence)
        results[name] = TaskResult(
            metric=_METRIC,
            value=float(found["results"][name][f"{_METRIC},none"]),
            low=low,
            high=high,
            items=len(right),
            chance=0.5,
            dropped=dropped[name],
            few_shot=0,
            prompt_hash=digests[name],
        )
    return results


def _evaluate(loaded: LoadedModel, names: list[str], folder: Path, how: How) -> dict[str, Any]:
    import datasets
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    datasets.disable_progress_bars()
    datasets.config.HF_DATASETS_CACHE = folder / "datasets"  # items are a stage's own: nothing of them belongs into a person's cache
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    model = HFLM(pretrained=loaded.model, tokenizer=loaded.tokenizer, batch_size=how.batch_size, max_length=loaded.window)
    found = lm_eval.simple_evaluate(
        model=model,
        tasks=list(names),
        task_manager=TaskManager(include_path=str(folder), include_defaults=False),
        bootstrap_iters=0,
        log_samples=True,
        random_seed=how.seed,
        numpy_random_seed=how.seed,
        torch_random_seed=how.seed,
        fewshot_random_seed=how.seed,
    )
    assert found is not None  # None is what the ranks above 0 get; there is one rank
    return dict(found)
