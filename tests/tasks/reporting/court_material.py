"""A court that was held, in miniature: runs with noise, effects and verdicts, as court.json has them. Numbers follow a real tiny court."""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random
from statistics import fmean, variance
from typing import Any

from contracts.config import digest
from tasks.ablation import Trial
from tasks.ablation.config import Modification
from tasks.ablation.results import BASELINE, CourtResult, Decision, Drift, Effect, Outcome, Response, Run, State

TOKENS = 204_800
SIZE = "750 k parameters at 205 k tokens of code, prose"
_STATES: dict[Outcome, State] = {"better": "accepted", "worse": "rejected", "within noise": "rejected", "under-powered": "tested"}
METRICS = {
    "bits_per_byte": 3.0,
    "bits_per_byte/code": 2.88,
    "bits_per_byte/math": 3.3,
    "bits_per_byte/prose": 3.11,
    "accuracy/grammar_pairs": 0.52,
    "accuracy/code_keyword_pairs": 0.71,
}
NOISE = dict(zip(METRICS, (0.022, 0.03, 0.04, 0.016, 0.03, 0.05), strict=True))
RATE, BATCH = "training.phases.*.schedule.learning_rate", "training.phases.*.global_batch_size"
MUON = Modification(
    name="muon",
    hypothesis="Muon for the matrices learns more from the same tokens than AdamW",
    change={"training.phases.*.optimizer.kind": "muon"},
    compensations={RATE: 0.003},
    why_compensated="each optimizer at its own tuned learning rate",
)
NO_POSITIONS = Modification(
    name="no-positions",
    hypothesis="Without positions long context is cheaper, and quality does not suffer",
    benefit="memory",
    change={"model.position_embedding": "none"},
)
SLOW = Modification(name="slow", hypothesis="A tenth of the learning rate is steadier", benefit="stability", change={RATE: 0.0002})
HOT = Modification(name="hot", hypothesis="Ten times the learning rate learns faster", change={RATE: 0.02})
LOST = Modification(
    name="fewer-heads", hypothesis="Two key/value heads are enough", benefit="speed", change={"model.num_key_value_heads": 2}
)
TRUE = {"muon": -0.40, "no-positions": -0.012, "slow": 0.36, "fewer-heads": -0.02}
SWEEP_RATES, SWEEP_BATCHES = [0.0005, 0.001, 0.002, 0.004, 0.008], [4, 8, 16]


def court(seeds: Sequence[int] = (0, 1), name: str = "main") -> CourtResult:
    """Five changes: one accepted, one within noise, one worse, one that diverged, one that lost an evaluation."""
    modifications = [MUON, NO_POSITIONS, SLOW, HOT, LOST]
    runs = [_run(BASELINE, seed, 0.0) for seed in seeds]
    for one in modifications:
        runs += [_run(one.name, seed, TRUE.get(one.name, 0.0)) for seed in seeds]
    runs = [_diverged(run) if run.arm == "hot" else run for run in runs]
    runs = [
        run.model_copy(update={"metrics": {}, "evaluate": ""}) if (run.arm, run.seed) == ("fewer-heads", seeds[-1]) else run for run in runs
    ]
    return _result(name, modifications, runs, seeds, points={one.name: dict(one.change) for one in modifications})


def sweep_court(axes: int, seeds: Sequence[int] = (0, 1)) -> CourtResult:
    """A court that sweeps the learning rate (one axis), or learning rate and batch (two); its hottest corner diverged."""
    rows = [(rate, batch) for rate in SWEEP_RATES for batch in (SWEEP_BATCHES if axes == 2 else [8])]
    sweep: dict[str, list[Any]] = {RATE: SWEEP_RATES} | ({BATCH: SWEEP_BATCHES} if axes == 2 else {})
    one = Modification(name="rate", hypothesis="The best rate grows with the batch", sweep=sweep)
    points: dict[str, dict[str, Any]] = {}
    runs = [_run(BASELINE, seed, 0.0) for seed in seeds]
    for rate, batch in rows:
        arm = f"rate[{rate:g},{batch}]" if axes == 2 else f"rate[{rate:g}]"
        points[arm] = {RATE: rate} | ({BATCH: batch} if axes == 2 else {})
        off = math.log2(rate / 0.004) - 0.5 * math.log2(batch / 8)
        found = [_run(arm, seed, 0.08 * (off * off - 1)) for seed in seeds]
        runs += [_diverged(run) for run in found] if (rate, batch) == (0.008, 4) else found
    return _result("rate", [one], runs, seeds, points=points)


def mixture_court(seeds: Sequence[int] = (0, 1)) -> CourtResult:
    """A court that sweeps the share of code, with the parabola through its runs."""
    path, shares = "training.phases.stable.mixture", [0.1, 0.3, 0.5, 0.7, 0.9]
    mixtures = [{"code": share, "prose": round(1 - share, 2)} for share in shares]
    one = Modification(name="mixture-ratio", hypothesis="Code and prose in equal parts are best for both", sweep={path: mixtures})
    points: dict[str, dict[str, Any]] = {f"mixture-ratio[{share:g}]": {path: mixed} for share, mixed in zip(shares, mixtures, strict=True)}

    def bend(share: float) -> float:
        return 0.8 * (share - 0.56) ** 2 - 0.003

    runs = [_run(BASELINE, seed, 0.0) for seed in seeds]
    runs += [_run(arm, seed, bend(share)) for arm, share in zip(points, shares, strict=True) for seed in seeds]
    found = _result("mixture", [one], runs, seeds, points=points)
    place = dict(zip(points, shares, strict=True)) | {BASELINE: 0.5}
    grid = [0.1 + 0.8 * step / 40 for step in range(41)]
    response = Response(
        source="code", metric="bits_per_byte", runs=[(place[run.arm], run.metrics["bits_per_byte"]) for run in runs],
        curve=[(x, 3.0 + bend(x), 2.98 + bend(x) - 0.05 * abs(x - 0.5), 3.02 + bend(x) + 0.05 * abs(x - 0.5)) for x in grid],
        optimum=0.56, low=0.49, high=0.63,
        sentence="bits_per_byte is best at 56% of code [49%, 63%] at 95%, by a parabola within the tried range.",
    )  # fmt: skip
    return found.model_copy(update={"responses": {"mixture-ratio": response}})


def study() -> list[Trial]:
    """Runs at four compute budgets x learning rates x batches, their best rate falling and their best batch growing with compute."""
    random, found = Random(0), []
    for compute in (1e13, 1e14, 1e15, 1e16):
        for a in (-1.0, -0.5, 0.0, 0.5, 1.0):
            for b in (-1.0, 0.0, 1.0):
                loss = 20.0 * compute**-0.05 * (1 + 0.02 * (a * a + b * b) + 0.002 * random.gauss(0, 1))
                rate, batch = 0.3118 * compute**-0.125 * math.exp(a), 0.292 * compute**0.3271 * math.exp(b)
                name = f"main/rate[{compute:g},{a:g},{b:g}].0"
                found.append(Trial(name=name, compute=compute, learning_rate=rate, batch=batch, loss=loss))
    return found


def _run(arm: str, seed: int, effect: float) -> Run:
    random = Random(f"{arm}.{seed}")
    noise = random.gauss(0, 1)
    metrics = {}
    for metric, base in METRICS.items():
        shift = -0.12 * effect if metric.startswith("accuracy") else effect
        metrics[metric] = base + shift + NOISE[metric] * (0.7 * noise + 0.5 * random.gauss(0, 1))
    steps = [TOKENS * step / 100 for step in range(1, 101)]
    fall = [(x, 4.6 + effect * min(1.0, x / TOKENS * 2) + 3.1 * math.exp(-x / 40_000) + 0.04 * random.gauss(0, 1)) for x in steps]
    heldout = {source: [(x, y + 0.05 * noise + add) for x, y in fall[9::10]] for source, add in (("code", -0.2), ("prose", 0.2))}
    return Run(
        arm=arm, seed=seed, train=digest(["train", arm, seed]), evaluate=digest(["evaluate", arm, seed]),
        metrics=metrics, tokens=TOKENS, seconds=38.0 + 3 * noise, tokens_per_second=7_100.0 + 60 * noise, loss=fall, heldout=heldout,
        versions={"torch": "2.13.0", "megatron-core": "0.18.0"}, machine={"cpus": 2},
    )  # fmt: skip


def _diverged(run: Run) -> Run:
    kept = [(x, y + 0.0008 * index**2) for index, (x, y) in enumerate(run.loss[:41])]
    return run.model_copy(update={"metrics": {}, "diverged_at": 41, "tokens": int(kept[-1][0]), "loss": kept, "heldout": {}})


def _result(
    name: str, modifications: list[Modification], runs: list[Run], seeds: Sequence[int], points: dict[str, dict[str, Any]]
) -> CourtResult:
    arms = [BASELINE, *points]
    effects = [_effect(arm, metric, runs, len(points)) for arm in points for metric in METRICS]
    decisions = [
        _decision(one, [e for e in effects if e.arm.partition("[")[0] == one.name and e.metric == "bits_per_byte"], points)
        for one in modifications
    ]
    accepted = {path: value for one in decisions for path, value in one.accepted.items()}
    baseline = {
        "training.phases.stable.mixture": {"code": 0.5, "prose": 0.5},
        "training.phases.*.optimizer.kind": "adamw",
        RATE: 0.002,
        BATCH: 8,
        "model.position_embedding": "rope",
        "model.num_key_value_heads": 4,
    }
    remarks = [f"{run.arm}.{run.seed} diverged at step {run.diverged_at}." for run in runs if run.diverged_at is not None]
    if len(seeds) == 1:
        remarks.append("One seed only: there is no measure of noise, and every verdict is under-powered.")
    return CourtResult(
        name=name, before="stable", metric="bits_per_byte", tokens=TOKENS, seeds=list(seeds), confidence=0.95, power=0.8, pairing="none",
        votes={
            "bits_per_byte": "waived: a demo has no four seeds to qualify with",
            "accuracy/grammar_pairs": "reported only: at chance at this size",
            "bits_per_byte/code": "reported: part of bits_per_byte", "bits_per_byte/prose": "reported: part of bits_per_byte",
        },
        size=SIZE,
        baseline={path: value for path, value in baseline.items() if any(path in {**point, **accepted} for point in points.values())},
        arms=arms, sweeps={one.name: one.sweep for one in modifications if one.sweep}, points=points, runs=runs,
        effects=effects, decisions=decisions,
        accepted=[f"{path}={value}" for path, value in accepted.items()],
        diff=[f"{path}: {baseline[path]} -> {value}" for path, value in accepted.items()],
        drift=[Drift(what="torch", values={"2.13.0": ["baseline.0"], "2.12.1": [f"{runs[-1].arm}.{runs[-1].seed}"]})], remarks=remarks,
    )  # fmt: skip


def _effect(arm: str, metric: str, runs: list[Run], arms: int) -> Effect:
    lower = not metric.startswith("accuracy")
    groups = {name: [run.metrics[metric] for run in runs if run.arm == name and run.metrics] for name in {run.arm for run in runs}}
    ours, base = groups[arm], groups[BASELINE]
    freedom = sum(max(0, len(group) - 1) for group in groups.values())
    sides: dict[str, Any] = {"arm": arm, "metric": metric, "lower_is_better": lower, "seeds": len(ours), "baseline_seeds": len(base)}
    diverged = sum(run.diverged_at is not None for run in runs if run.arm == arm)
    if diverged or not ours:
        return Effect(outcome="worse" if diverged else "under-powered", diverged=diverged, **sides)
    value = fmean(ours) - fmean(base)
    if not freedom:
        return Effect(outcome="under-powered", value=value, seeds_to_decide=2, tokens_to_decide=4 * TOKENS, **sides)
    noise = math.sqrt(sum(variance(group) * (len(group) - 1) for group in groups.values() if len(group) > 1) / freedom)
    reach = (2.5 + 0.1 * arms + 3 / freedom) * noise * math.sqrt(1 / len(ours) + 1 / len(base))
    outcome = _outcome(value if lower else -value, reach)
    return Effect(
        outcome=outcome, value=value, low=value - reach, high=value + reach, noise=noise, degrees_of_freedom=freedom,
        p_value=min(1.0, math.exp(-3 * (value / reach) ** 2)), seeds_to_decide=6 if outcome == "under-powered" else None,
        tokens_to_decide=12 * TOKENS if outcome == "under-powered" else None, **sides,
    )  # fmt: skip


def _outcome(loss: float, reach: float) -> Outcome:
    if loss + reach < 0:
        return "better"
    if loss - reach > 0:
        return "worse"
    return "within noise" if abs(loss) + reach < 0.09 else "under-powered"


def _decision(one: Modification, effects: list[Effect], points: dict[str, dict[str, Any]]) -> Decision:
    best = min(effects, key=lambda e: (e.value is None, e.value or 0.0))
    state = _STATES[best.outcome]
    change = {**points[best.arm], **one.compensations} if state == "accepted" else {}
    said = f"{best.outcome}: no run of it and the baseline can be compared"
    said = said if best.value is None else f"{best.outcome} by {abs(best.value):.3f} bits per byte"
    said = f"worse: {best.diverged} of its runs diverged" if best.diverged else said
    kept = "accepted" if change else "baseline kept"
    sentence = f"{best.arm}: {said} at 95% over {best.seeds} seeds; {kept}; holds for {SIZE}."
    return Decision(
        modification=one, digest="d" * 32, arm=best.arm, state=state, outcome=best.outcome, sentence=sentence, accepted=change,
        parameters=750_000,
        parameter_difference=-0.021 if one.name == "fewer-heads" else 0.0, flops_difference=-0.013 if one.name == "fewer-heads" else 0.0,
        benefits={"speed": -0.05} if one.name == "muon" else {},
    )  # fmt: skip
