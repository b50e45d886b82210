"""Reading what the runs of a court left: figures, curves, and what they ran on."""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

from contracts.errors import ConfigError, InputError
from tasks.ablation.request import ArmRequest, Compared, Hearing, JudgeRequest, run_name
from tasks.ablation.results import Points, Run
from tasks.evaluation import Scores, read_scores

__all__ = ["POINTS", "Evidence", "PhaseEvidence", "gathered", "read_runs", "spikes"]

POINTS = 200
"""Longest curve that goes into court.json."""
WINDOW, DEVIATIONS = 20, 6.0
"""A spike: a rise above the median rise of so many quiet steps before it by more than so many of their robust deviations."""
HELD_OUT = "heldout_loss/"
A = TypeVar("A", bound=Compared)
E = TypeVar("E", bound="Evidence")


@dataclass(frozen=True)
class Evidence:
    """One run that was read."""

    name: str
    """`ARM.SEED`."""
    arm: Compared
    """Its arm."""
    run: Run
    """What goes into court.json."""


@dataclass(frozen=True)
class PhaseEvidence(Evidence):
    """One run of a court before a phase."""

    arm: ArmRequest
    """Its arm."""
    scores: Scores
    """Its evaluation."""
    progress: float
    """Share of its phase that it was trained on: 1 where it ended as planned."""
    spikes: int
    """Spikes of its loss."""


def read_runs(request: JudgeRequest, inputs: Mapping[str, Path]) -> tuple[list[Run], list[PhaseEvidence]]:
    """(every run in the order of arms and seeds, those of them that were read).

    Raises:
        ConfigError: `left_out` names a run that the court does not have.
        InputError: a run that is neither there nor left out, or whose files cannot be read.
    """
    return gathered(request, request.arms, inputs, lambda name, arm, seed: _read(name, arm, seed, request.manifests, inputs))


def gathered(
    request: Hearing, arms: Sequence[A], inputs: Mapping[str, Path], read: Callable[[str, A, int], E]
) -> tuple[list[Run], list[E]]:
    """Every run of `arms`, and what `read` makes of those that no person left out; errors as of `read_runs`."""
    left_out = request.court.left_out
    names = {run_name(arm.name, seed) for arm in arms for seed in request.court.seeds}
    unknown = sorted(set(left_out) - names)
    if unknown:
        raise ConfigError(f"left_out names '{unknown[0]}', which is no run of the court", do="write ARM.SEED of one of its runs")
    runs: list[Run] = []
    found: list[E] = []
    for arm in arms:
        for seed in request.court.seeds:
            name = run_name(arm.name, seed)
            if name in left_out:
                runs.append(Run(arm=arm.name, seed=seed, left_out=left_out[name]))
                continue
            for role, what in ((f"{name}.train", "training"), (name, "evaluation")):
                if role not in inputs:
                    raise InputError(
                        f"run '{name}' has no {what}",
                        do=f"run the court again: it makes what is missing; or give it up with a reason: left_out: {{{name}: ...}}",
                    )
            found.append(read(name, arm, seed))
            runs.append(found[-1].run)
    return runs, found


def spikes(losses: Points) -> int:
    """Steps whose loss rises out of the quiet steps before them; a run of such steps counts once.

    What is held against its neighbours is the rise, not the loss: early in training the loss itself falls by more than it scatters.
    """
    rises: deque[float] = deque(maxlen=WINDOW)
    count, before, quiet = 0, False, losses[0][1] if losses else 0.0
    for _, loss in losses[1:]:
        middle = median(rises) if rises else 0.0
        spread = 1.4826 * median(abs(rise - middle) for rise in rises) if rises else 0.0
        high = len(rises) == WINDOW and loss - quiet > middle + DEVIATIONS * max(spread, 1e-3)
        count += high and not before
        before = high
        if not high:
            rises.append(loss - quiet)
            quiet = loss
    return count


def _read(name: str, arm: ArmRequest, seed: int, manifests: Mapping[str, Mapping[str, Any]], inputs: Mapping[str, Path]) -> PhaseEvidence:
    train = f"{name}.train"
    scores, state = read_scores(inputs[name]), _state(inputs[train])
    batch, steps = arm.phase.tokens_per_step, int(state["step"])
    logged = _curves(inputs[train] / "metrics.jsonl", batch)
    speeds = [speed for _, speed in logged.pop("tokens_per_second", [])]
    loss = logged.pop("loss", [])
    trained, evaluated = manifests.get(train, {}), manifests.get(name, {})
    seconds = [float(one.get("cost", {}).get("seconds", 0.0)) for one in (trained, evaluated)]
    diverged = scores.diverged_at if scores.diverged_at is not None else state.get("diverged_at")
    run = Run(
        arm=arm.name,
        seed=seed,
        train=str(trained.get("fingerprint", "")),
        evaluate=str(evaluated.get("fingerprint", "")),
        metrics={} if diverged is not None else scores.values(),
        diverged_at=diverged,
        tokens=steps * batch,
        seconds=sum(seconds) or float(sum(state.get("seconds", {}).values())),
        tokens_per_second=median(speeds) if speeds else 0.0,
        loss=_thinned(loss),
        heldout={key.removeprefix(HELD_OUT): _thinned(points) for key, points in logged.items()},
        versions={str(key): str(value) for key, value in trained.get("versions", {}).items()},
        machine=dict(trained.get("machine", {})),
    )
    return PhaseEvidence(name, arm, run, scores, steps / arm.phase.steps, spikes(loss))


def _state(folder: Path) -> dict[str, Any]:
    path = folder / "state.json"
    try:
        return {"seconds": {}, **json.loads(path.read_text())}
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"no account of the training can be read: {error}", where=str(path), do="train this run again") from None


def _curves(path: Path, batch: int) -> dict[str, Points]:
    """`loss`, `tokens_per_second` and every `heldout_loss/SOURCE` over tokens; a step written twice counts once, a cut line not at all."""
    steps: dict[str, dict[int, float]] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            step, _, values = json.loads(line)
        except ValueError:
            continue
        for key, value in values.items():
            if (key in ("loss", "tokens_per_second") or key.startswith(HELD_OUT)) and math.isfinite(value):
                steps.setdefault(key, {})[int(step)] = float(value)
    return {key: [(float(step * batch), value) for step, value in sorted(found.items())] for key, found in steps.items()}


def _thinned(points: Points) -> Points:
    """At most `POINTS` of them, evenly, the last one always."""
    if len(points) <= POINTS:
        return points
    every = -(-(len(points) - 1) // (POINTS - 1))
    return [*points[:-1:every], points[-1]]
