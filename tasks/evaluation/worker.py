"""Process of the stage `evaluate`: `python -m tasks.evaluation.worker SPEC`."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from infra.job import JobSpec, Progress, Summary, run_body

from tasks.evaluation.config import EvaluationConfig


def body(config: dict[str, object], inputs: Mapping[str, Path], out: Path, progress: Progress) -> Summary:
    """Evaluate with the network closed to the libraries: model, tokenizer and items come from the store."""
    os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false", TQDM_DISABLE="1")
    from tasks.evaluation.evaluate import evaluate

    return evaluate(EvaluationConfig.parse(config, "evaluation"), inputs, out, progress)


if __name__ == "__main__":
    sys.exit(run_body(JobSpec.parse(Path(sys.argv[1]).read_text()), body))
