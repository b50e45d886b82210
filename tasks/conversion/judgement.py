"""The parity gate asked again, from the recorded evidence: changed bounds judge anew and export nothing anew."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.conversion.config import ConversionConfig, DistributionBounds
from tasks.conversion.findings import Check, Parity, bounded

_BOUNDS = {
    "largest logit difference": "max_logit_difference",
    "KL divergence in nats": "max_kl",
    "top-1 agreement": "min_top1_agreement",
    "relative perplexity difference": "max_perplexity_difference",
    "embedding rows": "max_embedding_difference",
    "greedy tokens equal": "greedy_tokens",
}
"""Check -> field of the bounds; the other checks demand equality and have no bound to change."""
ROUNDING = "rounding: "
"""Prefix of the checks that compare with the weights as they were trained."""


def parity_problems(evidence: Mapping[str, Any], config: ConversionConfig) -> list[str]:
    """What is wrong with an export, from the evidence of the stage `convert` (`parity`) under the bounds that hold now."""
    recorded = Parity.parse(evidence["parity"], "evidence of convert")
    return [check.said() for check in (_anew(check, config) for check in recorded.checks) if not check.passed]


def _anew(check: Check, config: ConversionConfig) -> Check:
    bounds: DistributionBounds = config.rounding if check.name.startswith(ROUNDING) else config.parity
    field = _BOUNDS.get(check.name.removeprefix(ROUNDING))
    if field is None or check.value is None:
        return check
    return bounded(check.name, check.value, float(getattr(bounds, field)), check.rule)
