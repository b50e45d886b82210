"""A line with post-training in miniature: manifests, measurements and a merge panel as the stages leave them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tasks.merging.config import MergingConfig
from tasks.merging.panel import Contestant, Panel, rank
from tasks.posttraining import Cell, SkillScores
from tests.tasks.reporting.material import HOSTILE, INPUTS, MODEL, PHASES
from tests.tasks.reporting.material import run as base_run

ITEMS = 200
POST: dict[str, dict[str, str]] = {
    "chat": {"model": "convert"},
    "measure-convert": {"model": "convert"},
    "sft-main": {"model": "convert", "chat": "chat"},
    "measure-sft-main": {"model": "sft-main"},
    "preference-main": {"model": "sft-main", "chat": "chat"},
    "measure-preference-main": {"model": "preference-main"},
    "sft-adder": {"model": "sft-main", "chat": "chat"},
    "measure-sft-adder": {"model": "sft-adder"},
    "merge": {"preference-main": "preference-main", "sft-adder": "sft-adder", "measure.sft-adder": "measure-sft-adder"},
    "measure-release": {"model": "merge"},
}
RIGHT: dict[str, dict[str, tuple[int, int]]] = {
    "convert": {"add/think": (0, 0), "add/no_think": (0, 0)},
    "sft-main": {"add/think": (160, 100), "add/no_think": (10, 8)},
    "preference-main": {"add/think": (162, 130), "add/no_think": (11, 9)},
    "sft-adder": {"add/think": (110, 60), "add/no_think": (9, 8)},
    "merge": {"add/think": (190, 150), "add/no_think": (12, 11)},
}
"""Model -> cell -> right answers of 200, greedy and sampled."""


def scores(model: str, side: Any = "validation", questions: str = "q") -> SkillScores:
    """A measurement: which items are right is nested, so that paired intervals are narrow."""
    cells = []
    for decoding in (0, 1):
        for name, right in RIGHT[model].items():
            skill, _, mode = name.partition("/")
            answers = [int(number < right[decoding]) for number in range(ITEMS)]
            form = [int(model != "convert")] * ITEMS
            rest = {"cut": [0] * (ITEMS - 8) + [1] * 8, "tokens": [24] * ITEMS, "reflections": [0] * ITEMS}
            kind = ("greedy", "sampled")[decoding]
            cells.append(Cell.parse({"skill": skill, "mode": mode, "decoding": kind, "correct": answers, "formatted": form} | rest))
    return SkillScores(questions=questions, side=side, cells=cells)


def panel() -> Panel:
    """Of two children and a merge of them."""
    inputs = [{"stage": "preference-main", "weight": 0.5}, {"stage": "sft-adder", "weight": 0.5}]
    config = MergingConfig.parse({"candidates": [{"name": "soup", "inputs": inputs}], "required_tasks": ["add/think"]})
    models = (("preference-main", False), ("sft-adder", False), ("soup", True))
    contestants = [
        Contestant(
            name=name, merged=merged, how="linear: 0.5 preference-main + 0.5 sft-adder" if merged else "",
            cells=scores("merge" if merged else name).of("greedy"),
        )
        for name, merged in models
    ]  # fmt: skip
    return rank(contestants, config)


def run(root: Path) -> tuple[dict[str, dict[str, Any]], dict[str, Path]]:
    """(manifests, folders) of a line with post-training whose every stage is done."""
    manifests, folders = base_run(root)
    for stage, inputs in POST.items():
        folders[stage] = root / stage
        folders[stage].mkdir()
        manifests[stage] = manifest(stage, inputs)
        model = inputs.get("model", "")
        if stage.startswith("measure-"):
            scores(model, "test" if stage == "measure-release" else "validation").write(folders[stage])
    scores("merge").write(folders["merge"])
    (folders["merge"] / "panel.json").write_text(json.dumps(panel().model_dump(mode="json")))
    manifests["merge"]["evidence"] = {"panel": panel().model_dump(mode="json"), "made_of": ["preference-main", "sft-adder"]}
    licences = {"MIT": 63, f"BSD | {HOSTILE}": 40}
    prose = {"kind": "embedded", "licences": licences, "packages": [["pandas", "3.1"]]}
    manifests["source"]["evidence"] = {"sources": {"prose": prose, "code": {"kind": "files", "licences": {}}}}
    for phase in PHASES:
        told = {"model": MODEL, "phase": phase, "optimizer": {"kind": "adamw"}}
        manifests[f"train-{phase['name']}"]["config"] = {"config": told}
    for stage, parent, sources in (("sft-main", "pretrained", "sources"), ("preference-main", "sft-main", "sources")):
        one = {"name": f"sums {HOSTILE}", "uri": "generated:add", "mode": "think", "examples": 500}
        step = {"name": "main", "parent": parent, "schedule": {"learning_rate": 0.0015}, "global_batch_size": 32, sources: [one]}
        manifests[stage]["config"] = {"config": {"template": {}, "step": step}}
    metrics = {"bits_per_byte": 2.1, "bits_per_byte/prose": 2.05, "bits_per_byte_bigram/prose": 2.3, "accuracy/grammar_pairs": 0.7}
    manifests["evaluate"]["metrics"] = metrics
    return manifests, folders


def manifest(stage: str, inputs: dict[str, str]) -> dict[str, Any]:
    """What a stage after conversion leaves."""
    return {
        "stage": stage, "fingerprint": f"{stage}-0123456789abcdef", "created": "2026-03-01T11:22:31+00:00", "evidence": {}, "metrics": {},
        "cost": {"seconds": 12.0, "processes": 2}, "versions": {"torch": "2.13.0", "mergekit": "0.1.5"},
        "machine": {"cpu": "EPYC", "cpus": 2, "accelerators": []},
        "inputs": {role: {"stage": name, "fingerprint": "f", "manifest_sha256": "0"} for role, name in inputs.items()},
    }  # fmt: skip


__all__ = ["INPUTS", "POST", "panel", "run", "scores"]
