"""Evaluation craft: suites, backends, sufficient statistics and what is derived from them, qualification.

Names are imported when they are first used, so that `tasks.evaluation.config` stays light.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.lazy import offered

if TYPE_CHECKING:
    from tasks.evaluation.chat import Chat
    from tasks.evaluation.compression import model_bits
    from tasks.evaluation.documents import heldout as heldout_texts
    from tasks.evaluation.formulation import recommend_formulation, recommended_samples
    from tasks.evaluation.intervals import bootstrap_difference, wilson
    from tasks.evaluation.named import NamedTasks, model_for_tasks
    from tasks.evaluation.paired import average_accuracy, difference, require_comparable
    from tasks.evaluation.qualification import MetricQualification, QualificationResult, Thresholds, qualification_problems
    from tasks.evaluation.qualifying import QualifyRequest, qualify
    from tasks.evaluation.questions import Question, questions_of
    from tasks.evaluation.results import derive
    from tasks.evaluation.scores import ACCURACY, BITS, Answered, Scores, lower_is_better
    from tasks.evaluation.scores import read as read_scores
    from tasks.evaluation.transformers_model import load as load_transformers

__all__ = [
    "ACCURACY",
    "BITS",
    "Answered",
    "Chat",
    "MetricQualification",
    "NamedTasks",
    "QualificationResult",
    "QualifyRequest",
    "Question",
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
    "model_for_tasks",
    "qualification_problems",
    "qualify",
    "questions_of",
    "read_scores",
    "recommend_formulation",
    "recommended_samples",
    "require_comparable",
    "wilson",
]

_HOMES = {
    "ACCURACY": "scores",
    "Answered": "scores",
    "BITS": "scores",
    "Chat": "chat",
    "MetricQualification": "qualification",
    "NamedTasks": "named",
    "QualificationResult": "qualification",
    "QualifyRequest": "qualifying",
    "Question": "questions",
    "Scores": "scores",
    "Thresholds": "qualification",
    "average_accuracy": "paired",
    "bootstrap_difference": "intervals",
    "derive": "results",
    "difference": "paired",
    "heldout_texts": "documents:heldout",
    "model_for_tasks": "named",
    "load_transformers": "transformers_model:load",
    "lower_is_better": "scores",
    "model_bits": "compression",
    "qualification_problems": "qualification",
    "qualify": "qualifying",
    "questions_of": "questions",
    "read_scores": "scores:read",
    "recommend_formulation": "formulation",
    "recommended_samples": "formulation",
    "require_comparable": "paired",
    "wilson": "intervals",
}

__getattr__ = offered(__name__, _HOMES)
