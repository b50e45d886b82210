"""The parity gate asked again, from the recorded evidence: changed bounds judge anew and export nothing anew."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.conversion.config import ConversionConfig, DistributionBounds
from tasks.conversion.findings import Check, Parity, bounded

_DISTRIBUTION = {
    "largest logit difference": "max_logit_difference",
    "KL divergence in nats": "max_kl",
    "top-1 agreement": "min_top1_agreement",
    "relative perplexity difference": "max_perplexity_difference",
}
_BOUNDS = _DISTRIBUTION | {"embedding rows": "max_embedding_difference"}
"""Check -> field of the bounds; the other checks demand equality and have no bound to change."""
_EQUAL = ("tokenizer bytes", "config.json", "generation_config.json", "greedy tokens equal", "generation")
ROUNDING = "rounding: "
"""Prefix of the checks that compare with the weights as they were trained."""


def required_checks(config: ConversionConfig) -> set[str]:
    """Names of the checks without which an export counts as unproved."""
    cost = {f"{ROUNDING}{name}" for name in _DISTRIBUTION} if config.dtype != "float32" else set()
    return {*_EQUAL, *_BOUNDS, *cost}


def parity_problems(evidence: Mapping[str, Any], config: ConversionConfig) -> list[str]:
    """What is wrong with an export, from the evidence of the stage `convert` (`parity`) under the bounds that hold now.

    A check that the evidence lacks is a problem too.
    """
    recorded = Parity.parse(evidence.get("parity", {"checks": [], "tokens": 0}), "evidence of convert")
    missing = required_checks(config) - {check.name for check in recorded.checks}
    failed = [check.said() for check in (_anew(check, config) for check in recorded.checks) if not check.passed]
    return failed + [f"{name}: was not compared" for name in sorted(missing)]


def _anew(check: Check, config: ConversionConfig) -> Check:
    bounds: DistributionBounds = config.rounding if check.name.startswith(ROUNDING) else config.parity
    field = _BOUNDS.get(check.name.removeprefix(ROUNDING))
    if field is None:
        return check
    if check.value is None:  # no finite number was measured: no bound lets that pass
        return check.model_copy(update={"passed": False})
    return bounded(check.name, check.value, float(getattr(bounds, field)), check.rule)
