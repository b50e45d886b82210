"""Reading the runs of a court over a step after pretraining: held-out answers decide, losses are not read at all.

A loss of another objective, batch or packing is another quantity, and a lower one on training text says little about answers; so losses
stay in the runs' own curves. All runs answer the same items, so that what makes an item hard cancels between two arms.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from contracts.errors import InputError
from tasks.ablation.request import Compared, StepJudgeRequest
from tasks.ablation.results import BASELINE, Run
from tasks.ablation.runs import Evidence, gathered
from tasks.ablation.sentences import short
from tasks.evaluation import ACCURACY, BITS
from tasks.posttraining import SkillScores, read_skills

__all__ = ["REQUIRED", "StepEvidence", "at_an_end", "check_questions", "fewer_pairs", "read_step_runs", "skill_metrics", "step_size"]

POOLED, REQUIRED = "all", "required"
"""Means over all cells, and over those that a merge would be judged by."""
DECODINGS: tuple[Literal["greedy", "sampled"], ...] = ("greedy", "sampled")


@dataclass(frozen=True)
class StepEvidence(Evidence):
    """One run of a step with its measurement."""

    scores: SkillScores
    """Its answers."""
    counts: Mapping[str, int]
    """What it was trained on: steps, tokens, conversations or pairs."""

    @property
    def device(self) -> str:
        """Where it was measured."""
        return " ".join(str(self.scores.settings[key]) for key in ("device", "precision") if key in self.scores.settings)


def read_step_runs(request: StepJudgeRequest, inputs: Mapping[str, Path]) -> tuple[list[Run], list[StepEvidence]]:
    """(every run in the order of arms and seeds, those of them that were read).

    Raises:
        ConfigError: `left_out` names a run that the court does not have.
        InputError: a run that is neither there nor left out, or whose files cannot be read.
    """

    def read(name: str, arm: Compared, seed: int) -> StepEvidence:
        scores, told = read_skills(inputs[name]), _account(inputs[f"{name}.train"])
        trained, measured = (request.manifests.get(role, {}) for role in (f"{name}.train", name))
        run = Run(
            arm=arm.name,
            seed=seed,
            train=str(trained.get("fingerprint", "")),
            evaluate=str(measured.get("fingerprint", "")),
            metrics=skill_metrics(scores, request.required),
            tokens=int(told["counts"].get("tokens", 0)),
            seconds=sum(float(one.get("cost", {}).get("seconds", 0.0)) for one in (trained, measured)),
            tokens_per_second=float(told["metrics"].get("tokens_per_second", 0.0)),
            versions={str(key): str(value) for key, value in trained.get("versions", {}).items()},
            machine=dict(trained.get("machine", {})),
        )
        return StepEvidence(name, arm, run, scores, told["counts"])

    return gathered(request, request.arms, inputs, read)


def skill_metrics(scores: SkillScores, required: Sequence[str] = ()) -> dict[str, float]:
    """accuracy/all/DECODING, accuracy/SKILL/MODE/DECODING, accuracy/TASK[/MODE]; bits_per_byte of held-out text, which steps tend to cost.

    Args:
        required: cells (SKILL/MODE, TASK/MODE, TASK) that accuracy/required/DECODING is the mean of, where all of them were asked.
    """
    found = {f"{ACCURACY}/{POOLED}/{decoding}": scores.pooled(decoding) for decoding in DECODINGS if scores.cells}
    cells = {f"{ACCURACY}/{cell.name}": cell.accuracy for cell in scores.cells}
    cells |= {f"{ACCURACY}/{name}": right / items for name, (right, items) in scores.of_tasks().items() if items}
    for decoding in DECODINGS:
        values = [cells.get(f"{ACCURACY}/{name}/{decoding}", cells.get(f"{ACCURACY}/{name}")) for name in required]
        known = [value for value in values if value is not None]
        if values and len(known) == len(values):
            found[f"{ACCURACY}/{REQUIRED}/{decoding}"] = fmean(known)
    bits = scores.bits_per_byte()
    found |= cells | {f"{BITS}/{source}": value for source, value in bits.items()}
    return found | ({BITS: fmean(bits.values())} if bits and len(bits) == len(scores.text) else {})


def check_questions(read: Sequence[StepEvidence]) -> None:
    """All runs answered the same items, in the same template and within the same limits.

    Raises:
        InputError: they did not; names the runs of each.
    """
    asked: dict[tuple[str, ...], list[str]] = {}
    for one in read:
        asked.setdefault((one.scores.questions, *(cell.name for cell in one.scores.cells), *one.scores.tasks), []).append(one.name)
    if len(asked) > 1:
        groups = "; ".join(f"{key[0]}: {', '.join(names)}" for key, names in asked.items())
        raise InputError(f"the runs were asked different questions: {groups}", do="measure all of them with the same `evaluation`")


def step_size(request: StepJudgeRequest, read: Sequence[StepEvidence]) -> str:
    """What the verdicts hold for: the model, and what the baseline was trained on."""
    counts = next((one.counts for one in read if one.arm.name == BASELINE), {})
    kinds = ("steps", "conversations", "pairs", "tokens")
    said = [f"{short(counts[name])} {name}" for name in kinds if counts.get(name)]
    return f"{short(request.parameters)} parameters, {request.before} of {', '.join(said) or 'unknown length'}"


def fewer_pairs(read: Sequence[StepEvidence]) -> list[str]:
    """A remark on each arm that asked for more pairs than there were: it is an arm of fewer than its name says."""
    return list(dict.fromkeys(_short_of_pairs(read)))


def at_an_end(metric: str, read: Sequence[StepEvidence]) -> list[str]:
    """A remark where every run is right nowhere, or everywhere: such a measure tells no arm from another, and its noise is no noise."""
    values = {one.run.metrics[metric] for one in read if metric in one.run.metrics}
    if values not in ({0.0}, {1.0}):
        return []
    return [f"{metric} is {values.pop():.0f} in every run: it cannot tell one arm from another here, whatever the verdict says."]


def _short_of_pairs(read: Sequence[StepEvidence]) -> Iterator[str]:
    for one in read:
        asked = next((value for path, value in one.arm.point.items() if path.endswith(".max_pairs")), None)
        if asked is not None and one.counts.get("pairs", asked) < asked:
            yield f"{one.arm.name} asked for {asked:,} pairs, there were {one.counts['pairs']:,}."


def _account(folder: Path) -> dict[str, Any]:
    path = folder / "training.json"
    try:
        return {"counts": {}, "metrics": {}, **json.loads(path.read_text(encoding="utf-8"))}
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"no account of the training can be read: {error}", where=str(path), do="train this run again") from None
