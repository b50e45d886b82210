"""Evaluation: what a checkpoint costs, step by step, and lm-eval's path against a plain loop that must give the same answers.

    OMP_NUM_THREADS=1 python -m benchmarks.evaluation --rounds 2

Text, tokenizer and shards are those of the recipe `tiny`; the model has its architecture and fresh weights, whose values cost what trained
ones cost. CPU seconds, of processes that run nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parent.parent
ARM = {
    "backend": "megatron",
    "bits_per_byte": {"heldout_bytes": 40_000, "window": 256},
    "tasks": ["grammar_pairs", "code_keyword_pairs"],
    "items": 100,
    "samples": {"prompts": 0},
}
"""What an arm of a small court is measured with."""
CHECKPOINTS: dict[str, dict[str, Any]] = {
    "an arm: bits per byte, two pair tasks x 100": ARM,
    "an arm, bits per byte alone": ARM | {"suite": "bits_per_byte", "tasks": []},
    "the recipe tiny, whole offline suite x 200": ARM
    | {"bits_per_byte": {"heldout_bytes": 100_000, "window": 256}, "tasks": [], "items": 200, "samples": {"prompts": 2, "new_tokens": 48}},
}


def main() -> None:
    """Run everything and print two tables; as a child (--child) measure one checkpoint or one comparison and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="keep the material here, or take it from here")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(_paths(arguments.folder) if arguments.child == "paths" else _checkpoint(arguments.folder, arguments.child)))
        return
    with tempfile.TemporaryDirectory() as own:
        folder = arguments.folder or Path(own)
        if not (folder / "checkpoint" / "state.json").is_file():
            _child(folder, "", prepare=True)
        print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, CPU seconds, median of {arguments.rounds}\n")
        _print_checkpoints(folder, arguments.rounds)
        _print_paths([_child(folder, "paths") for _ in range(arguments.rounds)])


def _print_checkpoints(folder: Path, rounds: int) -> None:
    parts = ("start", "items", "model", "bits per byte", "questions", "samples", "whole process")
    print(f"| checkpoint | {' | '.join(parts)} |\n|---|{'---|' * len(parts)}")
    for name in CHECKPOINTS:
        runs = [_child(folder, name) for _ in range(rounds)]
        print(f"| {name} | {' | '.join(f'{statistics.median(run[part] for run in runs):.1f}' for part in parts)} |", flush=True)


def _print_paths(runs: list[dict[str, Any]]) -> None:
    print(f"\n{runs[0]['items']} items, {runs[0]['requests']} log-likelihoods; equal answers: {all(run['equal'] for run in runs)}")
    print("\n| path | CPU seconds | against the plain loop |\n|---|---|---|")
    for path in ("plain loop", "lm-eval"):
        seconds = statistics.median(run[path] for run in runs)
        ratio = statistics.median(run[path] / run["plain loop"] for run in runs)
        print(f"| {path} | {seconds:.2f} | {ratio:.2f} |")
    print(f"| lm-eval, importing it | {statistics.median(run['import'] for run in runs):.2f} | |")


def _child(folder: Path, what: str, prepare: bool = False) -> dict[str, Any]:
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT), "PYTHONWARNINGS": "ignore", "CUDA_VISIBLE_DEVICES": "", "TQDM_DISABLE": "1"}
    environment.setdefault("OMP_NUM_THREADS", "1")
    call = f"from benchmarks.evaluation import prepare; prepare({str(folder)!r})"
    command = ["-c", call] if prepare else ["-m", "benchmarks.evaluation", "--folder", str(folder), "--child", what]
    before = os.times()
    done = subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, timeout=900, check=False)
    after = os.times()
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    found = {} if prepare else dict(json.loads(done.stdout.splitlines()[-1]))
    whole = after.children_user + after.children_system - before.children_user - before.children_system
    return found | {"whole process": whole}


def prepare(to: str) -> None:
    """Text, tokenizer, shards and a checkpoint of the recipe `tiny`."""
    from flows import recipe
    from models import parallel
    from models.precision import Precision
    from tasks import data
    from tasks.training.config import OptimizerConfig

    # isort: split
    from tasks.training import checkpoint
    from tasks.training.engine import Engine

    folder, tiny = Path(to), recipe.load("tiny")
    steps: dict[str, tuple[Callable[..., Any], Any, list[str]]] = {
        "source": (data.source, tiny.data.for_source(), []),
        "curate": (data.curate, tiny.data.for_curate(), ["source"]),
        "tokenizer": (data.tokenizer, tiny.tokenizer, ["curate"]),
        "tokenize": (data.tokenize, tiny.data.tokenize, ["curate", "tokenizer"]),
    }
    for name, (body, config, inputs) in steps.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        body(config, {role: folder / role for role in inputs}, folder / name, lambda done, total, note: None)
    phase = tiny.training.phases[0].model_copy(update={"layout": type(tiny.training.phases[0].layout)()})
    parallel.initialise(phase.layout, 0)
    length = tiny.model.max_sequence_length
    engine = Engine(tiny.model, phase.layout, Precision(), OptimizerConfig(), length, rope_theta=None, seed=0)
    (folder / "checkpoint" / "checkpoint").mkdir(parents=True)
    checkpoint.save(folder / "checkpoint" / "checkpoint", engine.chunks, engine.optimizer)
    contents = {"model.json": tiny.model.model_dump(mode="json"), "training.json": {"phase": phase.model_dump(mode="json")}}
    for name, content in (contents | {"state.json": {"step": 1, "total_tokens": {"prose": 0}}}).items():
        (folder / "checkpoint" / name).write_text(json.dumps(content))


def _inputs(folder: Path) -> dict[str, Path]:
    return {role: folder / role for role in ("curate", "tokenizer", "tokenize", "checkpoint")}


def _checkpoint(folder: Path, name: str) -> dict[str, float]:
    """CPU seconds of each step of one evaluation; `start`: until its body begins."""
    from tasks.evaluation.config import EvaluationConfig
    from tasks.evaluation.evaluate import evaluate

    named = {"reaching": "items", "building": "items", "loading": "model", "asking": "questions", "writing": "samples"}
    steps = named | {"bits per": "bits per byte"}
    spent: dict[str, float] = dict.fromkeys([*steps.values(), "start"], 0.0)
    now: list[Any] = ["start", 0.0]

    def progress(done: float, total: float, note: str) -> None:
        following = next((step for words, step in steps.items() if note.startswith(words)), now[0])
        spent[str(now[0])] += time.process_time() - float(now[1])
        now[:] = [following, time.process_time()]

    with tempfile.TemporaryDirectory() as out:
        progress(0, 1, "reaching")
        evaluate(EvaluationConfig.parse(CHECKPOINTS[name]), _inputs(folder), Path(out), progress)
        progress(1, 1, "")
    return spent


def _paths(folder: Path) -> dict[str, Any]:
    """The same items by the plainest loop that scores them, and through lm-eval."""
    from tasks.evaluation import loading
    from tasks.evaluation.config import EvaluationConfig
    from tasks.evaluation.offline import GENERATORS
    from tasks.evaluation.suites import SuiteTask

    model = loading.load(EvaluationConfig(backend="megatron"), _inputs(folder))
    items = [item for name in ("copying", "induction", "recall_64") for item in GENERATORS[name](random.Random(0), 100)]
    began = time.process_time()
    right = []
    for start in range(0, len(items), 4):  # four items of four choices: lm-eval's batch of 16
        rows = [
            (model.tokenizer.encode(item.context), model.tokenizer.encode(choice))
            for item in items[start : start + 4]
            for choice in item.choices
        ]
        values = [value for value, _ in model.loglikelihoods(rows, 16)]
        for number, item in enumerate(items[start : start + 4]):
            per_character = [value / len(choice) for value, choice in zip(values[4 * number :], item.choices, strict=False)]
            right.append(float(per_character.index(max(per_character)) == item.label))
    plain = time.process_time() - began
    began = time.process_time()
    from tasks.evaluation import harness

    harness.from_items("warm", SuiteTask(source="generated"), items[:1])
    imported = time.process_time() - began
    began = time.process_time()
    found = harness.run(model, {"it": harness.from_items("it", SuiteTask(source="generated"), items)}, harness.How(16, 0))["it"]
    return {
        "items": len(items), "requests": 4 * len(items), "equal": found.right == right, "plain loop": plain,
        "lm-eval": time.process_time() - began, "import": imported,
    }  # fmt: skip


if __name__ == "__main__":
    main()
