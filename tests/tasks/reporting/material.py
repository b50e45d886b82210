"""A finished run in miniature: recipe, manifests and artifact folders as the stages leave them, and the full view of one."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

HOSTILE = '<script>alert("x")</script>'
MODEL = {
    "hidden_size": 128, "num_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2, "ffn_hidden_size": 384, "vocab_size": 2048,
    "max_sequence_length": 256,
}  # fmt: skip
PHASES = [
    {"name": "stable", "tokens": 20_480, "global_batch_size": 8, "sequence_length": 256, "mixture": {"prose": 0.6, "code": 0.4}},
    {"name": "decay", "tokens": 10_240, "global_batch_size": 8, "sequence_length": 256, "mixture": {"prose": 0.5, "code": 0.5}},
]
RECIPE: dict[str, Any] = {
    "name": "tiny",
    "purpose": {"question": f"Does it learn? {HOSTILE}"},
    "model": MODEL,
    "tokenizer": {"vocab_size": 2048, "digits": "single", "special_tokens": ["<|endoftext|>"], "plain_tokens": ["<think>"]},
    "training": {"phases": PHASES},
    "evaluation": {"samples": {"temperature": 0.8, "top_p": 0.95}},
}
INPUTS: dict[str, dict[str, str]] = {
    "source": {},
    "curate": {"source": "source"},
    "tokenizer": {"curate": "curate"},
    "tokenize": {"curate": "curate", "tokenizer": "tokenizer"},
    "train-stable": {"tokenize": "tokenize"},
    "train-decay": {"tokenize": "tokenize", "parent": "train-stable"},
    "convert": {"checkpoint": "train-decay", "tokenizer": "tokenizer", "curate": "curate"},
    "evaluate": {"model": "convert", "tokenize": "tokenize", "curate": "curate"},
}


def run(root: Path) -> tuple[dict[str, dict[str, Any]], dict[str, Path]]:
    """(manifests, folders) of a run whose every stage is done."""
    folders = {name: root / name for name in INPUTS}
    for folder in folders.values():
        folder.mkdir(parents=True)
    _metrics(folders["train-stable"], 10, 7.6)
    _metrics(folders["train-decay"], 5, 4.0)
    _results(folders)
    manifests = {name: _manifest(name, seconds=3.0 + 7 * index) for index, name in enumerate(INPUTS)}
    sources = {name: _curated(name) for name in ("prose", "code")}
    manifests["curate"]["evidence"] = {"sources": sources}
    manifests["tokenizer"]["evidence"] = {
        "sources": {"prose": {"bytes_per_token": 3.1, "fertility": 1.9}},
        "longest_tokens": ["documentation"],
    }
    counted = {"tokens": 9216, "heldout_tokens": 640, "bytes": 28_000}
    manifests["tokenize"]["evidence"] = {"sources": {"prose": counted, "code": counted}}
    layout = {
        "tensor_parallel_size": 1,
        "pipeline_parallel_size": 1,
        "context_parallel_size": 1,
        "data_parallel_size": 2,
        "micro_batch_size": 4,
    }
    leg = {"layout": layout, "first_step": 1, "last_step": 5, "device": "cpu"}
    manifests["train-decay"] |= {"layouts": [leg], "interventions": ["step 3: resumed after SIGKILL"]}
    manifests["train-decay"]["evidence"] = {"ledger": {"seconds": {"productive": 12.0, "waiting": 0.01}}, "epochs": {"prose": 1.9}}
    return manifests, folders


def _manifest(name: str, seconds: float) -> dict[str, Any]:
    return {
        "stage": name,
        "fingerprint": f"{name}-0123456789abcdef",
        "created": "2026-03-01T10:22:31+00:00",
        "cost": {"seconds": seconds},
        "inputs": {role: {"stage": stage, "fingerprint": "f", "manifest_sha256": "0"} for role, stage in INPUTS[name].items()},
        "versions": {"torch": "2.13.0"},
        "machine": {"cpus": 2, "memory_bytes": 8_375_186_227, "accelerators": []},
        "evidence": {},
    }


def _curated(name: str) -> dict[str, Any]:
    return {
        "documents_in": 120, "bytes_in": 40_000, "documents": 90, "bytes": 28_000, "heldout_documents": 6, "heldout_bytes": 2_000,
        "removed": {"too_short": 20, "duplicate": 4}, "removed_bytes": {"too_short": 3_000, "duplicate": 7_000},
        "samples": {"too_short": [f"stub {HOSTILE}"]}, "contaminated": 2,
        "kept": [f"A kept document of {name}. {HOSTILE}"],
    }  # fmt: skip


def _metrics(folder: Path, steps: int, first: float) -> None:
    lines = []
    for step in range(1, steps + 1):
        values = {"loss": first * math.exp(-step / 20), "learning_rate": 3e-3, "grad_norm": 1.0, "tokens_per_second": 14_000.0 - step}
        lines.append(json.dumps([step, 1_700_000_000_000 + step, values]))
        if step % 5 == 0:
            lines.append(json.dumps([step, 1_700_000_000_000 + step, {"eval_loss/prose": first * 0.9, "eval_loss/code": first * 0.7}]))
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n[11, 17000000")  # the last line was cut by a kill


def _results(folders: dict[str, Path]) -> None:
    checks = [
        {"name": "largest logit difference", "passed": True, "value": 3.8e-6, "bound": 1e-4, "rule": "at most"},
        {"name": "greedy tokens", "passed": True},
    ]
    (folders["convert"] / "parity.json").write_text(json.dumps({"checks": checks, "tokens": 2048}))
    documents = 40
    sides = {"prose": (2.05, 2.3), "code": (1.9, 1.91)}  # bits per byte of the model and of the bigram
    compressed = {
        source: {
            "documents": [f"{source}-{number}" for number in range(documents)],
            "bits": [1000 * (model + 0.02 * (-1) ** number) for number in range(documents)],
            "bytes": [1000] * documents,
            "tokens": [400] * documents,
            "bigram_bits": [1000 * (bigram - (0.1 if source == "code" else 0.02) * (-1) ** number) for number in range(documents)],
        }
        for source, (model, bigram) in sides.items()
    }
    answered = {"items": [str(number) for number in range(200)], "right": [1.0] * 140 + [0.0] * 60, "chance": 0.5, "dropped": 3}
    scores = {
        "suite": "offline@1:0123456789abcdef", "tokenizer": "0", "backend": "transformers 5", "compressed": compressed,
        "answered": {"grammar_pairs": answered}, "left_out": {"code_keyword_pairs": "too few items"},
        "settings": {"confidence": 0.95, "resamples": 200},
    }  # fmt: skip
    (folders["evaluate"] / "scores.json").write_text(json.dumps(scores))
    samples = [{"source": "prose", "prompt": "The function", "completion": f" returns {HOSTILE}"}]
    (folders["evaluate"] / "samples.json").write_text(json.dumps(samples))
