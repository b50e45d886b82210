"""Process of the stages after pretraining: `python -m tasks.posttraining.worker SPEC`.

`sft-`, `preference-`, `reinforcement-` and `distillation-` stages train, with checkpoints as parts; `pairs-` keeps its answers as parts;
the others are bodies that start again when they are killed. Nothing heavy is imported before the kind is known.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from contracts.errors import ConfigError
from infra.job import JobSpec, Summary, run_body, run_long_body
from tasks.posttraining.config import HUB

TRAINED = {
    "sft": "SftRequest", "preference": "PreferenceRequest", "reinforcement": "ReinforcementRequest", "distillation": "DistillationRequest",
}  # fmt: skip
"""Kind of stage -> its request; the module of the same name offers `prepare`."""
BODIES = ("chat", "measure", "vibe")
"""Kinds whose module of the same name offers a body of the same name."""
LONG_BODIES = ("pairs",)
"""The same, keeping parts of its work in the workspace."""
_QUIET = {
    "HF_HUB_DISABLE_TELEMETRY": "1", "TOKENIZERS_PARALLELISM": "false", "TRANSFORMERS_VERBOSITY": "error", "TQDM_DISABLE": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1", "TRL_EXPERIMENTAL_SILENCE": "1", "DISABLE_MLFLOW_INTEGRATION": "TRUE",
}  # fmt: skip
"""Metrics go to the spool, not from a worker to MLflow, whose import takes TRL 2 s."""


def environment(spec: JobSpec) -> dict[str, str]:
    """Settled before the libraries are first imported. Chat data (with it the tasks they are held against) and another model from a hub are
    all that is ever fetched; else tasks come from this machine's cache, as they do where models are measured."""
    online = _chat_from_hub(spec) or _model_from_hub(spec)
    return _QUIET if online else _QUIET | {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}


def preload(spec: JobSpec) -> None:
    """Import what this kind of stage needs."""
    kind = _kind(spec)
    import_module(f"tasks.posttraining.{kind}")
    if kind == "chat":
        return
    import transformers.models.auto.modeling_auto
    import transformers.models.llama.modeling_llama  # noqa: F401

    if kind in TRAINED:
        import_module("tasks.posttraining.session")
        import_module("trl.trainer.grpo_trainer" if kind == "reinforcement" else "trl.trainer.sft_trainer")


def main(spec: JobSpec) -> int:
    """Do the work of a stage and return the exit code.

    Raises:
        ConfigError: a stage that is none of this craft.
    """
    kind = _kind(spec)
    os.environ.update(environment(spec))
    if kind in TRAINED:
        from tasks.posttraining import requests, session

        request = getattr(requests, TRAINED[kind])
        return session.run(spec, lambda: (request.parse(spec.config, kind), import_module(f"tasks.posttraining.{kind}").prepare))
    if kind in BODIES:
        return run_body(spec, _body(kind))
    if kind in LONG_BODIES:
        return run_long_body(spec, _body(kind))
    known = ", ".join((*TRAINED, *BODIES, *LONG_BODIES))
    raise ConfigError(f"no stage of post-training is called '{kind}'", where=spec.stage, do=f"known: {known}")


def _kind(spec: JobSpec) -> str:
    return spec.stage.partition("-")[0]


def _chat_from_hub(spec: JobSpec) -> bool:
    steps = spec.config.get("steps", []) if _kind(spec) == "chat" else []
    return any(source["uri"].startswith(HUB) for step in steps for source in step["sources"])


def _model_from_hub(spec: JobSpec) -> bool:
    step = spec.config.get("step") or {}
    name = (step.get("pairs") or {}).get("strong") if _kind(spec) == "pairs" else step.get("teacher")
    return str(name or "").startswith(HUB)


def _body(kind: str) -> Any:
    def body(config: dict[str, Any], inputs: Mapping[str, Path], out: Path, *rest: Any) -> Summary:
        from tasks.posttraining.model_folder import with_model

        made: Summary = getattr(import_module(f"tasks.posttraining.{kind}"), kind)(config, with_model(inputs), out, *rest)
        return made

    return body


if __name__ == "__main__":
    sys.exit(main(JobSpec.read(sys.argv[1])))
