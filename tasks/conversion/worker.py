"""Process of the stage `convert`: `python -m tasks.conversion.worker SPEC`, one rank.

It computes in float32 on the CPU whatever the machine has: tensor cores round float32 products to 10 bits, and the gate's bounds are meant
to hold alike everywhere. Checkpoints do not depend on where they were written.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infra.job import JobSpec, Progress, Summary, run_body


def body(config: dict[str, Any], inputs: Mapping[str, Path], out: Path, progress: Progress) -> Summary:
    """Convert with GPUs and network out of the libraries' sight; both are settled when they are first imported."""
    os.environ.update(CUDA_VISIBLE_DEVICES="", HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", TQDM_DISABLE="1")
    from tasks.conversion.config import ConversionConfig
    from tasks.conversion.convert import convert

    return convert(ConversionConfig.parse(config, "conversion"), inputs, out, progress)


if __name__ == "__main__":
    sys.exit(run_body(JobSpec.read(sys.argv[1]), body))
