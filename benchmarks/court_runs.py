"""Real tiny runs that show whether the court is right: A/A sweeps without any effect, and planted effects of known direction.

    python -m benchmarks.court_runs train     # about a minute a run and core; goes on where it was stopped
    python -m benchmarks.court_runs table     # the tables of docs/benchmarks.md, from what is in the store

Runs lie in the store of SMOLFLOW_HOME like any other; `noise` is a source of random letters that stands in for 30 % of the prose.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import os
import random
import statistics
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from flows.baseline import bare, baseline_run
from flows.desk import Desk
from flows.plan import Arm
from flows.stage import Watch, already_there, perform
from infra.site import load as load_site
from tasks.ablation.config import Court
from tasks.ablation.results import BASELINE
from tasks.ablation.verdict import Terms, effects
from tasks.evaluation import read_scores

AA_TOKENS, AA_SWEEPS, AA_SEEDS = 102_400, 10, 2
PLANTED_TOKENS = 204_800
TOLERANCE = 0.05
SEEDS = {BASELINE: range(10), "lr-tenth": range(6), "noise-30": range(8), "no-positions": range(4)}
"""Planted effects, and the seeds of each."""
CHANGES = {
    "lr-tenth": {"training.phases.*.schedule.learning_rate": 4e-4},
    "noise-30": {"training.phases.*.mixture": {"prose": 0.35, "noise": 0.15, "code": 0.5}},
    "no-positions": {"model.no_rope_every": 1},
}
TWO_SOURCES = {
    "training.phases.*.mixture": {"prose": 0.5, "code": 0.5},
    "training.phases.*.schedule.learning_rate": 4e-3,
    "training.phases.*.global_batch_size": 4,
    "training.phases.*.layout": {"micro_batch_size": 4},
}
"""What the planted effects start from: two sources, and 200 steps at the rate that is best for so many, not the 100 of tiny's batch."""
PLANTED = list(CHANGES)
Values = dict[str, dict[int, float]]


def desk_of(tokens: int, seeds: Sequence[int], baseline: Mapping[str, Any]) -> Desk:
    """The recipe tiny with a source of noise that its baseline does not read, and a court over it."""
    modifications = [
        {"name": name, "hypothesis": "a planted effect", "tolerance": TOLERANCE, "change": change} for name, change in CHANGES.items()
    ]
    court = {
        "name": "proof",
        "tokens": tokens,
        "seeds": list(seeds),
        "warmup_steps": 5,
        "final_fraction": 0.02,
        "layout": {"micro_batch_size": 4},
        "modifications": modifications,
        "evaluation": {
            "backend": "megatron",
            "suite": "bits_per_byte",
            "bits_per_byte": {"heldout_bytes": 40_000, "window": 256},
            "samples": {"prompts": 0},
        },
    }
    text = {"name": "noise", "kind": "files", "path": str(_noise()), "language": None, "filters": "none", "heldout": {"share": 0.02}}
    sources = json.loads(Desk.of("tiny").plan.written.data.model_dump_json())["sources"]
    waivers = [{"gate": gate, "reason": "a proof with planted noise"} for gate in ("documents", "tokenizer-fertility", "qualification")]
    changes: dict[str, Any] = {"data.sources": [*sources, text], "ablations": {"courts": [court]}, "waivers": waivers, **baseline}
    return Desk.of("tiny", [f"{path}={json.dumps(value)}" for path, value in changes.items()])


def aa_runs(desk: Desk, case: Court) -> list[Arm]:
    """Runs of the baseline alone: every sweep is two of them against two others."""
    return [baseline_run(desk.plan, case, seed) for seed in range(2 * AA_SWEEPS * AA_SEEDS)]


def planted_runs(desk: Desk) -> list[Arm]:
    """The baseline and every planted effect, seed by seed."""
    found = {arm.label: arm for arm in desk.plan.node("court-proof").arms}
    return [found[f"{name}.{seed}"] for seed, name in sorted((seed, name) for name, seeds in SEEDS.items() for seed in seeds)]


def experiments() -> dict[str, tuple[Desk, list[Arm]]]:
    """Name -> recipe and runs."""
    aa, planted = desk_of(AA_TOKENS, [0], {}), desk_of(PLANTED_TOKENS, SEEDS[BASELINE], TWO_SOURCES)
    plain = bare(aa)
    return {"planted": (planted, planted_runs(planted)), "aa": (plain, aa_runs(plain, aa.plan.written.ablations.courts[0]))}


def train(lanes: int) -> None:
    """Bring every run into being, `lanes` at a time; what is there is not done again."""

    def one(desk: Desk, arm: Arm) -> None:
        own = desk.of_arm(arm)
        for node in (arm.train, arm.evaluate):
            if not already_there(node, own):
                outcome = perform(node, own, _watch())
                print(f"{arm.label} {node.name} {outcome.seconds:.0f} s", flush=True)

    for name, (desk, arms) in experiments().items():
        print(f"{name}: {len(arms)} runs", flush=True)
        for node in arms[0].plan.upstream(arms[0].train):
            perform(node, desk, _watch())
        with ThreadPoolExecutor(lanes) as pool:
            list(pool.map(lambda arm, desk=desk: one(desk, arm), arms))  # type: ignore[misc]


def values(desk: Desk, arms: Sequence[Arm]) -> Mapping[str, Values]:
    """Metric -> arm -> seed -> value of every run that is there."""
    found: dict[str, Values] = {}
    for arm in arms:
        artifact = desk.store.find(arm.evaluate.fingerprint, "evaluate")
        if artifact is None:
            continue
        name, _, seed = arm.label.rpartition(".")
        scores = read_scores(desk.store.materialise(artifact, desk.site.scratch / "court", ["scores.json"]))
        text = {source: one for source, one in scores.compressed.items() if source != "noise"}  # the planted noise is no measure
        for metric, value in scores.model_copy(update={"compressed": text}).values().items():
            found.setdefault(metric, {}).setdefault(name, {})[int(seed)] = value
    return found


def tables(planted: Mapping[str, Values], aa: Mapping[str, Values]) -> Iterator[str]:
    """What the documentation shows: noise and planted effects, A/A sweeps, how often a small court finds each."""
    yield "| metric | baseline | sd | " + " | ".join(PLANTED) + " |\n|---|---|---|" + "---|" * len(PLANTED)
    for metric, arms in sorted(planted.items()):
        base = list(arms[BASELINE].values())
        shown = [_difference(arms, name) for name in PLANTED]
        yield f"| {metric} | {statistics.fmean(base):.3f} (n {len(base)}) | {statistics.stdev(base):.3f} | " + " | ".join(shown) + " |"
    spread = ", ".join(f"{metric} {statistics.stdev(arms[BASELINE].values()):.3f}" for metric, arms in sorted(aa.items()))
    outcomes = [_verdict({BASELINE: a, "arm": b}, "bits_per_byte") for a, b in _pairs(aa["bits_per_byte"][BASELINE])]
    counted = ", ".join(f"{outcomes.count(o)} {o}" for o in sorted(set(outcomes)))
    yield f"\nA/A at {AA_TOKENS:,} tokens: {len(outcomes)} sweeps: {counted}; standard deviations {spread}"
    for count in (2, 5):
        yield f"Sweeps of {count} arms x {AA_SEEDS} seeds drawn from these runs: {_false_alarms(aa['bits_per_byte'][BASELINE], count)}"
    yield "\n| planted | decided by | seeds | found |\n|---|---|---|---|"
    for name, metric in (("lr-tenth", "bits_per_byte"), ("noise-30", "bits_per_byte"), ("noise-30", "bits_per_byte/prose")):
        for seeds in (2, 4, 6):
            yield f"| {name} | {metric} | {seeds} | {_found(planted[metric], name, metric, seeds)} |"


def _difference(arms: Values, name: str) -> str:
    own, base = arms.get(name, {}), arms[BASELINE]
    if len(own) < 2:
        return "-"
    value = statistics.fmean(own.values()) - statistics.fmean(base.values())
    paired = [own[seed] - base[seed] for seed in own if seed in base]
    return f"{value:+.3f} (sd {statistics.stdev(own.values()):.3f}, paired {statistics.stdev(paired):.3f}, n {len(own)})"


def _pairs(runs: dict[int, float]) -> Iterator[tuple[dict[int, float], dict[int, float]]]:
    """Disjoint sweeps: two seeds as the baseline, two as an arm that is the baseline."""
    seeds = sorted(runs)
    for at in range(0, len(seeds) - 2 * AA_SEEDS + 1, 2 * AA_SEEDS):
        a, b = seeds[at : at + AA_SEEDS], seeds[at + AA_SEEDS : at + 2 * AA_SEEDS]
        yield {s: runs[s] for s in a}, {s: runs[s] for s in b}


def _false_alarms(runs: dict[int, float], arms: int) -> str:
    """Share of 2,000 sweeps, drawn without replacement from runs of one and the same recipe, that call some arm better or worse."""
    rng, names, hits = random.Random(0), [BASELINE, *(f"arm{n}" for n in range(arms))], 0
    for _ in range(2000):
        drawn = rng.sample(sorted(runs), AA_SEEDS * len(names))
        values = {name: {seed: runs[seed] for seed in drawn[AA_SEEDS * n : AA_SEEDS * (n + 1)]} for n, name in enumerate(names)}
        found = effects(values, "bits_per_byte", True, dict.fromkeys(names[1:], TOLERANCE), Terms(confidence=0.95, power=0.8))
        hits += any(one.outcome in ("better", "worse") for one in found)
    return f"{hits / 2000:.1%} with a false alarm"


def _found(arms: Values, name: str, metric: str, seeds: int) -> str:
    """Share of all courts of `seeds` seeds of the arm and as many others of the baseline that call it worse, at most 2,000 of them."""
    rng = random.Random(0)
    own = list(itertools.combinations(sorted(arms[name]), seeds))
    base = list(itertools.combinations(sorted(arms[BASELINE]), seeds))
    cases = [(rng.choice(own), rng.choice(base)) for _ in range(2000)]
    hits = sum(
        _verdict({BASELINE: {s: arms[BASELINE][s] for s in b}, name: {s: arms[name][s] for s in a}}, metric) == "worse" for a, b in cases
    )
    return f"{hits / len(cases):.1%} of {len(cases)} draws from {len(arms[name])} and {len(arms[BASELINE])} runs"


def _verdict(values: Values, metric: str) -> str:
    terms = Terms(confidence=0.95, power=0.8)
    return effects(values, metric, True, {name: TOLERANCE for name in values if name != BASELINE}, terms)[0].outcome


def _watch() -> Watch:
    return Watch(logging.getLogger("court_runs"), lambda done, total, note: None, wait=3600.0)


def _noise() -> Path:
    """1.5 MB of random lower-case words, the same ones every time."""
    folder = load_site().home / "noise"
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(0)
    for number in range(50):
        words = ("".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 9))) for _ in range(4600))
        (folder / f"noise-{number:02}.txt").write_text(" ".join(words))
    return folder


def main(arguments: Sequence[str] | None = None) -> None:
    """`train` or `table`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["train", "table"])
    parser.add_argument("--lanes", type=int, default=os.cpu_count() or 1, help="runs side by side")
    given = parser.parse_args(arguments)
    if given.what == "train":
        train(given.lanes)
        return
    found = {name: values(desk, arms) for name, (desk, arms) in experiments().items()}
    print("\n".join(tables(found["planted"], found["aa"])))


if __name__ == "__main__":
    main()
