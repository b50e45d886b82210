"""Process of the stage `merge`: `python -m tasks.merging.worker SPEC`, one rank."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infra.job import JobSpec, Progress, Summary, run_body


def body(config: dict[str, Any], inputs: Mapping[str, Path], out: Path, progress: Progress) -> Summary:
    """Merge with the network out of the libraries' sight (settled when they are first imported): every parent comes from the store."""
    os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false", TQDM_DISABLE="1")
    from tasks.merging.body import merge_and_choose
    from tasks.merging.requests import MergeRequest

    return merge_and_choose(MergeRequest.parse(config, "merge"), inputs, out, progress)


if __name__ == "__main__":
    sys.exit(run_body(JobSpec.read(sys.argv[1]), body))
