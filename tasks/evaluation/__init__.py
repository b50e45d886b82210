"""Evaluation craft: suites, backends, sufficient statistics and what is derived from them, qualification.

Names are imported when they are first used, so that `tasks.evaluation.config` stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tasks.evaluation.compression import model_bits
    from tasks.evaluation.documents import heldout as heldout_texts
    from tasks.evaluation.formulation import recommend_formulation, recommended_samples
    from tasks.evaluation.intervals import bootstrap_difference, wilson
    from tasks.evaluation.paired import average_accuracy, difference, require_comparable
    from tasks.evaluation.qualification import MetricQualification, QualificationResult, Thresholds, qualification_problems
    from tasks.evaluation.qualifying import QualifyRequest, qualify
    from tasks.evaluation.results import derive
    from tasks.evaluation.scores import ACCURACY, BITS, Scores, lower_is_better
    from tasks.evaluation.scores import read as read_scores
    from tasks.evaluation.transformers_model import load as load_transformers

__all__ = [
    "ACCURACY",
    "BITS",
    "MetricQualification",
    "QualificationResult",
    "QualifyRequest",
    "Scores",
    "Thresholds",
    "average_accuracy",
    "bootstrap_difference",
    "derive",
    "difference",
    "heldout_texts",
    "load_transformers",
    "lower_is_better",
    "model_bits",
    "qualification_problems",
    "qualify",
    "read_scores",
    "recommend_formulation",
    "recommended_samples",
    "require_comparable",
    "wilson",
]

_HOMES = {
    "ACCURACY": "scores",
    "BITS": "scores",
    "MetricQualification": "qualification",
    "QualificationResult": "qualification",
    "QualifyRequest": "qualifying",
    "Scores": "scores",
    "Thresholds": "qualification",
    "average_accuracy": "paired",
    "bootstrap_difference": "intervals",
    "derive": "results",
    "difference": "paired",
    "heldout_texts": "documents",
    "load_transformers": "transformers_model",
    "lower_is_better": "scores",
    "model_bits": "compression",
    "qualification_problems": "qualification",
    "qualify": "qualifying",
    "read_scores": "scores",
    "recommend_formulation": "formulation",
    "recommended_samples": "formulation",
    "require_comparable": "paired",
    "wilson": "intervals",
}
_RENAMED = {"read_scores": "read", "heldout_texts": "heldout", "load_transformers": "load"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'tasks.evaluation' has no attribute '{name}'")
    return getattr(import_module(f"tasks.evaluation.{_HOMES[name]}"), _RENAMED.get(name, name))
