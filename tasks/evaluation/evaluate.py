"""The body of the stage `evaluate`: bits per byte, minimal pairs, samples; all on the converted model."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from infra.job import Progress, Summary
from tasks.data import sources_in
from tasks.evaluation import compression, documents, harness, items, loading, sampling, shards
from tasks.evaluation.bigram import WittenBellBigram
from tasks.evaluation.config import EvaluationConfig
from tasks.evaluation.results import BitsPerByte, Evaluation, TaskResult

# Shares of the time, for the progress bar: scoring dominates.
_LOADED, _SCORED, _PAIRED, _DONE = 10.0, 55.0, 90.0, 100.0


@dataclass(frozen=True)
class _Run:
    config: EvaluationConfig
    inputs: Mapping[str, Path]
    sources: list[str]
    progress: Progress


def evaluate(config: EvaluationConfig, inputs: Mapping[str, Path], out: Path, progress: Progress) -> Summary:
    """Measure the converted model.

    Args:
        inputs: `model` (artifact of convert), `tokenize` (shards), `curate` (documents).
        out: gets evaluation.json and samples.json.

    Raises:
        InputError: no held-out text, or shards that cannot be read.
    """
    run = _Run(config, inputs, sources_in(inputs["curate"] / "heldout"), progress)
    progress(0, _DONE, "loading the model")
    loaded = loading.load(inputs["model"] / "model", config.dtype)
    texts = {source: _heldout(run, source) for source in run.sources}
    bits = _bits_per_byte(run, loaded, texts)
    tasks, left_out = _pairs(run, loaded)
    progress(_PAIRED, _DONE, "writing samples")
    samples = sampling.generate(loaded, texts, config.samples, config.seed) if config.samples.prompts else []
    found = Evaluation(bits_per_byte=bits, tasks=tasks, settings=_settings(config, loaded, left_out))
    (out / "evaluation.json").write_text(json.dumps(found.model_dump(mode="json"), indent=1, ensure_ascii=False, allow_nan=False))
    (out / "samples.json").write_text(json.dumps([s.model_dump(mode="json") for s in samples], indent=1, ensure_ascii=False))
    progress(_DONE, _DONE, ", ".join(f"{source} {row.model:.3f} bits/byte" for source, row in bits.items()))
    return Summary(
        counts={f"items/{name}": task.items for name, task in tasks.items()},
        metrics=found.metrics(),
        evidence={"evaluation": found.model_dump(mode="json")},
    )


def _heldout(run: _Run, source: str) -> list[str]:
    wanted = run.config.bits_per_byte
    return documents.heldout(
        run.inputs["curate"], source, seed=run.config.seed, max_bytes=wanted.heldout_bytes, document_bytes=wanted.document_bytes
    )


def _bits_per_byte(run: _Run, loaded: loading.LoadedModel, texts: Mapping[str, list[str]]) -> dict[str, BitsPerByte]:
    wanted, folder = run.config.bits_per_byte, run.inputs["tokenize"]
    described = shards.describe(folder)
    streams = (shards.stream(folder, source, wanted.bigram_tokens) for source in described["sources"])
    bigram = WittenBellBigram.fit(streams, int(described["vocab_size"]))
    found: dict[str, BitsPerByte] = {}
    for number, (source, own) in enumerate(texts.items()):
        found[source] = compression.compare(
            loaded,
            bigram,
            own,
            window=wanted.window,
            batch_size=run.config.batch_size,
            confidence=run.config.confidence,
            resamples=wanted.resamples,
            seed=run.config.seed,
            tick=_ticker(run, number, len(texts), source),
        )
    return found


def _ticker(run: _Run, number: int, sources: int, source: str) -> Callable[[int, int], None]:
    def tick(done: int, total: int) -> None:
        share = (number + done / max(total, 1)) / sources
        run.progress(_LOADED + share * (_SCORED - _LOADED), _DONE, f"bits per byte, {source}")

    return tick


def _pairs(run: _Run, loaded: loading.LoadedModel) -> tuple[dict[str, TaskResult], dict[str, str]]:
    """Results of the pair tasks, and why a task was left out."""
    config = run.config
    run.progress(_SCORED, _DONE, "building minimal pairs")
    built = items.build(config, run.inputs["curate"], run.sources)
    run.progress((_SCORED + _PAIRED) / 2, _DONE, "minimal pairs through lm-eval")
    with tempfile.TemporaryDirectory(prefix="smolflow-pairs-") as folder:
        how = harness.How(config.batch_size, config.seed, config.confidence)
        return harness.run_tasks(loaded, built.kept, built.dropped, Path(folder), how), built.left_out


def _settings(config: EvaluationConfig, loaded: loading.LoadedModel, left_out: dict[str, str]) -> dict[str, Any]:
    import torch

    return {
        "backend": f"transformers {version('transformers')}",
        "harness": f"lm_eval {version('lm_eval')}",
        "torch": torch.__version__,
        "device": loaded.device,
        "threads": torch.get_num_threads(),
        "precision": config.dtype,
        "batch_size": config.batch_size,
        "window": min(config.bits_per_byte.window, loaded.window),
        "seed": config.seed,
        "confidence": config.confidence,
        "resamples": config.bits_per_byte.resamples,
        "few_shot": 0,
        "left_out": left_out,
    }
