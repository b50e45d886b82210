"""Process of the stage `evaluate`: `python -m tasks.evaluation.worker SPEC`."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infra.job import JobSpec, Progress, Summary, run_body


def environment(spec: JobSpec) -> dict[str, str]:
    """Settled before the libraries are first imported: they see no network, everything comes from the store."""
    return {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "TQDM_DISABLE": "1"}


def preload(spec: JobSpec) -> None:
    """Import what most of the work needs."""
    import tasks.evaluation.evaluate
    import tasks.evaluation.transformers_model
    import tasks.training  # noqa: F401


def main(spec: JobSpec) -> int:
    """Evaluate a model or a checkpoint; returns the exit code."""
    os.environ.update(environment(spec))
    return run_body(spec, _body)


def _body(config: dict[str, Any], inputs: Mapping[str, Path], out: Path, progress: Progress) -> Summary:
    from tasks.evaluation.config import EvaluationConfig
    from tasks.evaluation.evaluate import evaluate

    return evaluate(EvaluationConfig.parse(config, "evaluation"), inputs, out, progress)


if __name__ == "__main__":
    sys.exit(main(JobSpec.read(sys.argv[1])))
