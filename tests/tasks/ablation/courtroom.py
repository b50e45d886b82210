"""A court in miniature on disk: runs that left what a training and an evaluation leave, with numbers of our choice."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from infra.job import Summary
from models.config import ModelConfig
from tasks.ablation import BASELINE, ArmRequest, CourtResult, JudgeRequest, judge
from tasks.ablation.config import Court, Modification
from tasks.evaluation.scores import Scores
from tasks.training.config import OptimizerConfig, Phase, Schedule

STEPS, SEQUENCE, BATCH = 50, 256, 8
TOKENS = STEPS * SEQUENCE * BATCH
RATE = "training.phases.*.schedule.learning_rate"
MODEL = ModelConfig(
    hidden_size=128,
    num_layers=4,
    num_attention_heads=4,
    num_key_value_heads=4,
    ffn_hidden_size=384,
    vocab_size=2048,
    max_sequence_length=256,
)
SUITE, TOKENIZER = "offline 1 (0a1b2c3d)", "f00d"
NOISE = 0.006
"""Standard deviation of a run, in bits per byte."""


def modification(name: str = "change", **fields: Any) -> Modification:
    given = {} if "sweep" in fields else {"change": {RATE: 0.004}}
    return Modification(**{"name": name, "hypothesis": "it helps", **given, **fields})


def phase(tokens: int = TOKENS, rate: float = 2e-3, **fields: Any) -> Phase:
    schedule = fields.pop("schedule", Schedule(shape="linear", learning_rate=rate, warmup_steps=5))
    return Phase(
        **{
            "name": "arm",
            "tokens": tokens,
            "mixture": {"prose": 0.5, "code": 0.5},
            "sequence_length": SEQUENCE,
            "global_batch_size": BATCH,
            "schedule": schedule,
            **fields,
        }
    )


@dataclass
class Result:
    """What a run is to have left."""

    bits: Mapping[str, float] = field(default_factory=lambda: {"code": 2.9, "prose": 3.1})
    right: float | None = None
    suite: str = SUITE
    tokenizer: str = TOKENIZER
    backend: str = "megatron-core 0.18.0 (not converted)"
    diverged_at: int | None = None
    steps: int = STEPS
    speed: float = 7000.0
    bumps: tuple[int, ...] = ()


def shifted(arm: str, seed: int, by: float = 0.0, noise: float = NOISE, **fields: Any) -> Result:
    """A run that is `by` bits per byte away from the baseline on both sources, give or take its own noise."""
    off = by + Random(f"{arm}.{seed}").gauss(0, noise)
    return Result(bits={"code": 2.9 + off, "prose": 3.1 + off}, **fields)


def effects(**by: float) -> Callable[[str, int], Result]:
    """Runs of arms (dashes written as underscores) that differ from the baseline by so much."""
    return lambda arm, seed: shifted(arm, seed, by.get(arm.replace("-", "_"), 0.0))


@dataclass
class Courtroom:
    """Writes runs and holds the court over them."""

    folder: Path
    request: JudgeRequest = field(init=False)
    inputs: dict[str, Path] = field(init=False)
    summary: Summary = field(init=False)

    def hold(
        self,
        modifications: list[Modification],
        results: Callable[[str, int], Result | None],
        *,
        seeds: tuple[int, ...] = (0, 1),
        arms: Mapping[str, Mapping[str, Any]] | None = None,
        request: Mapping[str, Any] | None = None,
        **court: Any,
    ) -> CourtResult:
        """The verdict.

        Args:
            results: (arm, seed) -> what that run left; None: nothing.
            arms: arm -> fields of its ArmRequest, where they are not the baseline's; arms of sweeps stand here too.
        """
        case = Court(**{"modifications": modifications, "tokens": TOKENS, "seeds": list(seeds), **court})
        written = self._arms(modifications, arms or {})
        asked = JudgeRequest(
            **{"court": case, "before": "stable", "arms": written, "votes": {case.metric: "waived: a test"}, "baseline": {RATE: 2e-3}}
            | dict(request or {})
        )
        inputs: dict[str, Path] = {}
        for arm in written:
            for seed in seeds:
                result = results(arm.name, seed)
                if result is not None:
                    inputs |= self.write(f"{arm.name}.{seed}", result, arm.phase.tokens_per_step)
        self.request, self.inputs = asked, inputs
        return self.again()

    def again(self) -> CourtResult:
        """The same case once more, over the files as they lie there now."""
        out = self.folder / "out"
        out.mkdir(exist_ok=True)
        self.summary = judge(self.request, self.inputs, out, lambda *_: None)
        return CourtResult.parse(json.loads((out / "court.json").read_text()))

    def write(self, name: str, result: Result, batch: int) -> dict[str, Path]:
        """The two folders of one run, by role."""
        train, evaluate = self.folder / f"{name}.train", self.folder / name
        for one in (train, evaluate):
            one.mkdir(parents=True, exist_ok=True)
        (train / "state.json").write_text(json.dumps({"step": result.steps, "seconds": {"productive": 10.0}}))
        lines = []
        for step in range(1, result.steps + 1):
            loss = 7.0 - 0.05 * step + 0.01 * (step % 3) + (3.0 if step in result.bumps else 0.0)
            lines.append(json.dumps([step, 0, {"loss": loss, "tokens_per_second": result.speed + step % 5}]))
        lines.append(json.dumps([result.steps, 0, {"heldout_loss/code": 4.0, "heldout_loss/prose": 4.2}]))
        (train / "metrics.jsonl").write_text("\n".join(lines) + '\n[99, 0, {"lo')
        measured = result.diverged_at is None
        scores = Scores.parse(
            {
                "suite": result.suite,
                "tokenizer": result.tokenizer,
                "backend": result.backend,
                "diverged_at": result.diverged_at,
                "compressed": {
                    source: {"documents": ["a", "b"], "bits": [100.0 * bits, 300.0 * bits], "bytes": [100, 300]}
                    for source, bits in result.bits.items()
                    if measured
                },
                "answered": _answered(result.right) if measured and result.right is not None else {},
            }
        )
        (evaluate / "scores.json").write_text(json.dumps(scores.model_dump(mode="json")))
        return {f"{name}.train": train, name: evaluate}

    def _arms(self, modifications: list[Modification], arms: Mapping[str, Mapping[str, Any]]) -> list[ArmRequest]:
        plain = {"model": MODEL, "phase": phase(), "optimizer": OptimizerConfig()}
        names: dict[str, dict[str, Any]] = {
            one.name: {"modification": one.name, "point": one.change} for one in modifications if not one.sweep
        }
        names |= {arm: {"modification": arm.partition("[")[0]} for arm in arms if arm != BASELINE and arm not in names}
        changes = {one.name: {**one.change, **one.compensations} for one in modifications}
        written = [ArmRequest(**{"name": BASELINE, **plain, **arms.get(BASELINE, {})})]
        for name, fields in names.items():
            written.append(
                ArmRequest(**{"name": name, "changes": changes[fields["modification"]], **plain, **fields, **arms.get(name, {})})
            )
        return written


def _answered(share: float) -> dict[str, Any]:
    right = [1.0] * round(share * 100) + [0.0] * (100 - round(share * 100))
    return {"grammar_pairs": {"items": [f"{n:x}" for n in range(100)], "right": right, "chance": 0.5}}
