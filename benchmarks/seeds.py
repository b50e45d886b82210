"""What every stage after pretraining gained or lost, over several seeds of a recipe; the artifacts of all of them lie in one store.

    python -m benchmarks.seeds --recipe tiny --seeds 0 1 2            # reads what is there
    python -m benchmarks.seeds --recipe tiny --seeds 0 1 2 --run      # runs what is missing first (needs `smolflow up`)

A seed is that of the training (initialisation and order) and of every step after it; data, tokenizer and courts are shared. An interval
is a paired bootstrap over held-out items within seeds, so it holds for these seeds; beside it stands what each seed alone gave.
Prints Markdown.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Mapping, Sequence

import numpy as np

from flows.desk import Desk
from flows.plan import Node
from flows.recipe import load
from infra.job import machine
from tasks.evaluation import bootstrap_difference, wilson
from tasks.merging import Panel
from tasks.posttraining import SkillScores, read_skills
from tasks.posttraining.skill_scores import DECODINGS, Decoding

CONFIDENCE, RESAMPLES = 0.95, 2000


def main() -> None:
    """Print the table of changes, then the panel of each seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="tiny")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--run", action="store_true", help="run what is missing first")
    parser.add_argument("--only", nargs="+", help="cells, as add/think; without: all that were measured")
    asked = parser.parse_args()
    desks = {seed: Desk.of(asked.recipe, seeded(asked.recipe, seed)) for seed in asked.seeds}
    if asked.run:
        for desk in desks.values():
            sets = [word for override in desk.overrides for word in ("--set", override)]
            subprocess.run([sys.executable, "-m", "deployments.command", "run", "--recipe", asked.recipe, *sets], check=True)
    scores = {seed: _measured(desk, asked.only) for seed, desk in desks.items()}
    print(f"machine: {machine()}; recipe {asked.recipe}, seeds {', '.join(map(str, asked.seeds))}\n")
    first = desks[asked.seeds[0]]
    for decoding in DECODINGS:
        _print_changes(first, scores, decoding)
    _print_panels(desks)
    _print_released(desks)


def seeded(recipe: str, seed: int) -> list[str]:
    """Overrides that give the training and every step after it this seed."""
    steps = load(recipe).posttraining
    kinds = ("sft", "preference", "distillation", "reinforcement")
    named = [f"posttraining.{kind}.{step.name}.seed={seed}" for kind in kinds for step in getattr(steps, kind, ())]
    return [f"training.seed={seed}", *named]


def _measures(desk: Desk) -> list[Node]:
    return [node for node in desk.plan if node.name.startswith("measure-") and node.name != "measure-release"]


def _measured(desk: Desk, only: Sequence[str] | None) -> dict[str, SkillScores]:
    """Stage whose model was measured -> its scores, of the named cells alone where some are named."""
    found = {}
    for node in _measures(desk):
        scores = _scores(desk, node)
        cells = [cell for cell in scores.cells if only is None or f"{cell.skill}/{cell.mode}" in only]
        found[node.inputs["model"].name] = scores.model_copy(update={"cells": cells})
    return found


def _scores(desk: Desk, node: Node) -> SkillScores:
    artifact = desk.store.require(node.name, node.fingerprint)
    return read_skills(desk.store.materialise(artifact, desk.site.scratch))


def _right(scores: SkillScores, decoding: Decoding) -> list[np.ndarray]:
    return [np.array(cell.correct, float) for cell in scores.cells if cell.decoding == decoding]


def _mean(scores: SkillScores, decoding: Decoding) -> float:
    return float(np.mean([right.mean() for right in _right(scores, decoding)]))


def _print_changes(desk: Desk, scores: Mapping[int, Mapping[str, SkillScores]], decoding: Decoding) -> None:
    items = sum(len(right) for right in _right(next(iter(scores[next(iter(scores))].values())), decoding))
    print(f"Held-out accuracy, {decoding}, mean over cells ({items} items a seed):\n")
    print("| model | from | each seed | mean | change, 95 % interval | verdict | in form |\n|---|---|---|---|---|---|---|")
    for node in _measures(desk):
        name, before = node.inputs["model"].name, node.inputs.get("before")
        values = [_mean(of[name], decoding) for of in scores.values()]
        form = np.mean([of[name].pooled(decoding, lambda cell: cell.format) for of in scores.values()])
        parent, change, verdict = "", "", ""
        if before is not None:
            parent = before.inputs["model"].name
            change, verdict = _change([(of[parent], of[name]) for of in scores.values()], decoding)
        each = ", ".join(f"{value:.3f}" for value in values)
        print(f"| {name} | {parent} | {each} | {np.mean(values):.3f} | {change} | {verdict} | {form:.2f} |")
    print()


def _change(pairs: Sequence[tuple[SkillScores, SkillScores]], decoding: Decoding) -> tuple[str, str]:
    groups = [
        ((new, np.ones(len(new))), (old, np.ones(len(old))))
        for before, after in pairs
        for old, new in zip(_right(before, decoding), _right(after, decoding), strict=True)
    ]
    low, high = bootstrap_difference(groups, confidence=CONFIDENCE, resamples=RESAMPLES, seed=0) or (float("nan"), float("nan"))
    mean = np.mean([new.mean() - old.mean() for (new, _), (old, _) in groups])
    verdict = "gain" if low > 0 else "loss" if high < 0 else "no gain outside its interval"
    return f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]", verdict


def _print_panels(desks: Mapping[int, Desk]) -> None:
    print("Merge panel, weakest skill of each model (* chosen):\n")
    rows: dict[str, list[str]] = {}
    for desk in desks.values():
        node = next((one for one in desk.plan if one.name == "merge"), None)
        if node is None:
            return
        panel = Panel.parse(desk.store.require(node.name, node.fingerprint).manifest.evidence["panel"], "manifest of merge")
        for row in panel.standings:
            weakest = row.cells.get(row.weakest)
            told = f"{weakest.value:.3f} [{weakest.low:.2f}, {weakest.high:.2f}] {row.weakest}" if weakest else "not measured"
            rows.setdefault(row.name, []).append(f"{told} *" if row.name == panel.winner else told)
    print("| model |" + "".join(f" seed {seed} |" for seed in desks) + "\n|---|" + "---|" * len(desks))
    for name, cells in rows.items():
        print(f"| {name} |" + "".join(f" {cell} |" for cell in cells))


def _print_released(desks: Mapping[int, Desk]) -> None:
    print("\nThe released model on the test items, which nothing before it has read; pooled over seeds, Wilson:\n")
    print("| answers |" + "".join(f" seed {seed} |" for seed in desks) + " all |\n|---|" + "---|" * (len(desks) + 1))
    scores = [_scores(desk, desk.plan.node("measure-release")) for desk in desks.values()]
    for decoding in DECODINGS:
        each = [_right(one, decoding) for one in scores]
        right, items = (sum(what(cell) for cells in each for cell in cells) for what in (np.sum, len))
        low, high = wilson(float(right), int(items), CONFIDENCE)
        cells = "".join(f" {np.mean([cell.mean() for cell in one]):.3f} |" for one in each)
        print(f"| {decoding} |{cells} {right / items:.3f} [{low:.3f}, {high:.3f}] |")


if __name__ == "__main__":
    main()
