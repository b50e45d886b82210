"""The body of the stage `evaluate`: bits per byte, the suite's tasks and samples of one model; leaves sufficient statistics."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from contracts.config import digest
from contracts.errors import InputError
from infra.job import Progress, Summary
from tasks.data import sources_in
from tasks.evaluation import compression, documents, loading, sampling, scores, shards
from tasks.evaluation.bigram import WittenBellBigram
from tasks.evaluation.config import EvaluationConfig
from tasks.evaluation.formulation import recommend_formulation
from tasks.evaluation.loading import Model
from tasks.evaluation.results import Sample
from tasks.evaluation.scores import Answered, Compressed, Scores

# Shares of the time, for the progress bar: scoring dominates.
_LOADED, _SCORED, _ASKED, _DONE = 10.0, 55.0, 90.0, 100.0


@dataclass(frozen=True)
class _Run:
    config: EvaluationConfig
    inputs: Mapping[str, Path]
    sources: list[str]
    progress: Progress


def evaluate(config: EvaluationConfig, inputs: Mapping[str, Path], out: Path, progress: Progress) -> Summary:
    """Measure a model.

    Training that was stopped as diverged leaves nothing to measure: its statistics say so, and are empty.

    Args:
        inputs: `model` (artifact of convert) or, for the backend megatron, `checkpoint` and `tokenizer`; `tokenize` (shards), `curate`
            (documents).
        out: gets scores.json and samples.json.

    Raises:
        InputError: no held-out text, an artifact that cannot be read, or a task whose data cannot be reached; nothing has been run then.
        ConfigError: a task would run generated code, which was not allowed.
        ResourceError: the backend is not installed here.
    """
    suite = f"{config.suite}@{config.suite_version}"
    diverged = loading.diverged_at(inputs)
    if diverged is not None:
        progress(_DONE, _DONE, f"training diverged at step {diverged}: nothing is measured")
        return _leave(Scores(suite=suite, tokenizer="", backend=config.backend, diverged_at=diverged), [], out)
    run = _Run(config, inputs, _sources(config, inputs["curate"]), progress)
    tasks = _Tasks.prepare(run)
    texts = {source: _heldout(run, source) for source in run.sources}
    progress(0, _DONE, "loading the model")
    model = loading.load(config, inputs)
    compressed = _compress(run, model, texts)
    answered = tasks.ask(run, model)
    progress(_ASKED, _DONE, "writing samples")
    samples = sampling.generate(model, texts, config.samples, config.seed) if config.samples.prompts else []
    found = Scores(
        suite=f"{suite}:{_identity(config, model, compressed, answered)}",
        tokenizer=model.tokenizer.digest,
        backend=model.facts.backend,
        vocab_size=int(shards.describe(inputs["tokenize"])["vocab_size"]),
        tokens_seen=model.facts.tokens_seen,
        compressed=compressed,
        answered=answered,
        left_out=tasks.left_out,
        settings=_settings(config, model),
    )
    progress(_DONE, _DONE, ", ".join(f"{name.partition('/')[2]} {value:.3f} bits/byte" for name, value in _bits(found).items()))
    return _leave(found, samples, out)


class _Tasks:
    """The suite's tasks, their data in hand before a model is loaded."""

    def __init__(self, built: Any, prepared: dict[str, Any], left_out: dict[str, str]) -> None:
        self._built, self._prepared, self.left_out = built, prepared, left_out

    @classmethod
    def prepare(cls, run: _Run) -> _Tasks:
        """Reach for every task's data; `elsewhere` of the suite is listed among what was left out."""
        config, suite = run.config, run.config.chosen_suite()
        if config.backend == "vllm":
            loading.require_vllm()
        left_out = {} if config.tasks else dict(suite.elsewhere)
        if not suite.tasks:
            return cls(None, {}, left_out)
        from tasks.evaluation import harness, items

        own = {name: task for name, task in suite.tasks.items() if task.source == "harness"}
        run.progress(0, _DONE, "reaching for the tasks' data")
        reader = harness.Reader.of(run.inputs["model"] / "model") if own and "model" in run.inputs else None
        prepared = harness.from_harness(
            own, limit=config.items, seed=config.seed, run_generated_code=config.run_generated_code, reader=reader
        )
        run.progress(0, _DONE, "building items")
        built = items.build(config, run.inputs["curate"], run.sources)
        return cls(built, prepared, left_out)

    def ask(self, run: _Run, model: Model) -> dict[str, Answered]:
        """Every task's answers."""
        if self._built is None:
            return {}
        from tasks.evaluation import harness, items

        run.progress(_SCORED, _DONE, "asking the suite's questions through lm-eval")
        items.leave_out_longer(self._built, model.tokenizer, model.facts.window)
        self.left_out |= self._built.left_out
        suite = run.config.chosen_suite()
        own = {name: harness.from_items(name, suite.tasks[name], kept) for name, kept in self._built.kept.items()}
        found = harness.run(model, own | self._prepared, harness.How(run.config.batch_size, run.config.seed))
        return {name: one.model_copy(update={"dropped": self._built.dropped.get(name, 0)}) for name, one in found.items()}


def _heldout(run: _Run, source: str) -> list[str]:
    wanted = run.config.bits_per_byte
    return documents.heldout(
        run.inputs["curate"], source, seed=run.config.seed, max_bytes=wanted.heldout_bytes, document_bytes=wanted.document_bytes
    )


def _sources(config: EvaluationConfig, curated: Path) -> list[str]:
    """Sources that are scored: those asked for, else all that have held-out text."""
    there, wanted = sources_in(curated / "heldout"), config.bits_per_byte.sources
    missing = [name for name in wanted if name not in there]
    if missing:
        raise InputError(
            f"no held-out text of {', '.join(missing)}", where="evaluation.bits_per_byte.sources", do=f"name some of {', '.join(there)}"
        )
    return list(wanted) or there


def _compress(run: _Run, model: Model, texts: Mapping[str, list[str]]) -> dict[str, Compressed]:
    wanted, folder = run.config.bits_per_byte, run.inputs["tokenize"]
    described = shards.describe(folder)
    streams = (shards.stream(folder, source, wanted.bigram_tokens) for source in described["sources"])
    bigram = WittenBellBigram.fit(streams, int(described["vocab_size"]))
    return {
        source: compression.compress(
            model, bigram, own, window=wanted.window, batch_size=run.config.batch_size, tick=_ticker(run, number, len(texts), source)
        )
        for number, (source, own) in enumerate(texts.items())
    }


def _ticker(run: _Run, number: int, sources: int, source: str) -> Callable[[int, int], None]:
    def tick(done: int, total: int) -> None:
        share = (number + done / max(total, 1)) / sources
        run.progress(_LOADED + share * (_SCORED - _LOADED), _DONE, f"bits per byte, {source}")

    return tick


def _identity(config: EvaluationConfig, model: Model, compressed: Mapping[str, Compressed], answered: Mapping[str, Answered]) -> str:
    """Digest of everything that must be equal for two results to be compared; not the batch size, the backend or the model."""
    asked = {"items", "samples", "generative", "formulation", "metric", "few_shot", "prompts", "decoding"}
    return digest(
        {
            "documents": {source: one.documents for source, one in compressed.items()},
            "tasks": {name: one.model_dump(mode="json", include=asked) for name, one in answered.items()},
            "window": min(config.bits_per_byte.window, model.facts.window),
            "precision": config.dtype,
            "seed": config.seed,
        }
    )[:16]


def _settings(config: EvaluationConfig, model: Model) -> dict[str, Any]:
    import torch

    advice = recommend_formulation(model.facts.parameters, model.facts.tokens_seen)
    return {
        "harness": f"lm_eval {version('lm_eval')}",
        "torch": torch.__version__,
        "device": model.facts.device,
        "threads": torch.get_num_threads(),
        "precision": config.dtype,
        "batch_size": config.batch_size,
        "window": min(config.bits_per_byte.window, model.facts.window),
        "seed": config.seed,
        "confidence": config.confidence,
        "resamples": config.bits_per_byte.resamples,
        "recommended_formulation": advice.formulation,
        "recommended_because": advice.reason,
    }


def _bits(found: Scores) -> dict[str, float]:
    return {name: value for name, value in found.values().items() if name.startswith(f"{scores.BITS}/")}


def _leave(found: Scores, samples: list[Sample], out: Path) -> Summary:
    (out / scores.FILE).write_text(json.dumps(found.model_dump(mode="json"), ensure_ascii=False, allow_nan=False))
    (out / "samples.json").write_text(json.dumps([s.model_dump(mode="json") for s in samples], indent=1, ensure_ascii=False))
    metrics = found.values()
    for source, one in found.compressed.items():
        if sum(one.bytes) and one.bigram_bits:
            metrics[f"bits_per_byte_bigram/{source}"] = sum(one.bigram_bits) / sum(one.bytes)
            metrics[f"wins_vs_bigram/{source}"] = float(sum(one.bits) < sum(one.bigram_bits))
    return Summary(
        counts={f"items/{name}": len(one.items) for name, one in found.answered.items()},
        metrics=metrics,
        evidence={"suite": found.suite, "left_out": found.left_out, "diverged_at": found.diverged_at, "settings": found.settings},
    )
