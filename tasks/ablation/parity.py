"""Fair sizes (C02): parameters and FLOPs of every arm against the baseline, and the compensation that would restore them.

A change that moves the parameter count is compared fairly only when something else gives it back (Smol Training Playbook, ablation
framework: layers or width). What is found here is proposed, never done silently.
"""

from __future__ import annotations

import json
import math
from typing import Any

from pydantic import Field

from contracts.config import Config
from models.config import ModelConfig
from models.count import parameters
from models.flops import flops_per_token
from models.layout import Layout
from tasks.ablation.arms import Arm

__all__ = ["TOLERANCE", "Parity", "parity", "proposals"]

TOLERANCE = 0.03
"""Largest relative difference of parameters or FLOPs that passes unsaid."""


class Parity(Config):
    """Size and work of one arm beside the baseline."""

    arm: str
    """The arm."""
    parameters: int
    """Of its model."""
    parameter_difference: float
    """Relative to the baseline."""
    flops_per_token: float
    """Forward and backward, by the `megatron` convention."""
    flops_difference: float
    """Relative to the baseline."""
    proposal: dict[str, Any] = Field({})
    """Compensation that restores the parameters, in the form of `Modification.compensations`; empty where none is needed or none fits."""
    warning: str = ""
    """What a person should know; empty where both differences are small."""


def parity(
    arm: Arm, baseline: ModelConfig, model: ModelConfig, layout: Layout, sequence_length: int, baseline_sequence_length: int | None = None
) -> Parity:
    """`model`, the arm's, against `baseline`; `layout` is what a proposed width must be divisible for. Lengths are in tokens."""
    counted, expected = parameters(model), parameters(baseline)
    work = flops_per_token(model, sequence_length)
    usual = flops_per_token(baseline, baseline_sequence_length or sequence_length)
    size, flops = counted / expected - 1, work / usual - 1
    proposal: dict[str, Any] = {}
    sentences = []
    if abs(size) > TOLERANCE:
        chosen = proposals(baseline, model, layout, untouched=set(arm.point))
        proposal = chosen[0][0] if chosen else {}
        sentences.append(_size(arm, counted, size, chosen))
    if abs(flops) > TOLERANCE:
        compute = "more" if flops > 0 else "less"
        sentences.append(f"'{arm.name}' takes {_percent(flops)} FLOPs per token: at equal tokens it is given {compute} compute")
    return Parity(
        arm=arm.name,
        parameters=counted,
        parameter_difference=size,
        flops_per_token=work,
        flops_difference=flops,
        proposal=proposal,
        warning="; ".join(sentences),
    )


def proposals(baseline: ModelConfig, model: ModelConfig, layout: Layout, untouched: set[str]) -> list[tuple[dict[str, Any], float]]:
    """(compensation, relative difference of parameters it leaves), the best first, of those that leave no more than the tolerance.

    Args:
        untouched: fields (`model.NAME`) that are the factor and cannot give way.
    """
    missing, layers = parameters(baseline) - parameters(model), model.num_layers
    width_step, layer = _width_step(baseline, layout), _layer(model)
    width = _near(model.ffn_hidden_size + missing / (3 * model.hidden_size * layers), width_step)
    depth = _near(layers + missing / layer, layout.pipeline_parallel_size * (layout.virtual_pipeline_parallel_size or 1))
    found = []
    for name, value in (("ffn_hidden_size", width), ("num_layers", depth)):
        if f"model.{name}" in untouched or "model" in untouched:
            continue
        left = parameters(model.model_copy(update={name: value})) / parameters(baseline) - 1
        if abs(left) <= TOLERANCE:
            found.append(({f"model.{name}": value}, left))
    return sorted(found, key=lambda one: abs(one[1]))


def _size(arm: Arm, counted: int, size: float, chosen: list[tuple[dict[str, Any], float]]) -> str:
    declared = arm.modification.compensations if arm.modification else {}
    missed = f", in spite of its compensations ({', '.join(declared)})" if declared else ""
    said = f"'{arm.name}' has {counted:,} parameters, {_percent(size)} than the baseline{missed}"
    if not chosen:
        return f"{said}; neither ffn_hidden_size nor num_layers brings it within {TOLERANCE:.0%}"
    options = " or ".join(f"compensations {json.dumps(one)} would leave {left:+.1%}" for one, left in chosen)
    return f"{said}; {options}"


def _percent(difference: float) -> str:
    return f"{abs(difference):.1%} {'more' if difference > 0 else 'fewer'}"


def _layer(model: ModelConfig) -> int:
    return parameters(model.model_copy(update={"num_layers": 2})) - parameters(model.model_copy(update={"num_layers": 1}))


def _near(value: float, step: int) -> int:
    return max(step, round(value / step) * step)


def _width_step(baseline: ModelConfig, layout: Layout) -> int:
    """Widths to choose from: multiples of the largest power of two that the baseline's has, fine enough to move 1 % of the parameters."""
    each = 3 * baseline.hidden_size * baseline.num_layers
    powers = [p for p in (256, 128, 64, 32, 16) if baseline.ffn_hidden_size % p == 0 and p * each <= parameters(baseline) / 100]
    return math.lcm(powers[0] if powers else 8, layout.tensor_parallel_size)
