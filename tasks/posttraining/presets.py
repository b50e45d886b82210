"""Published settings of post-training steps, by name. Name, parent, sources, seed and placement of a step stay as they are."""

from __future__ import annotations

from typing import Any, TypeVar

from contracts.config import nearest
from contracts.errors import ConfigError
from tasks.posttraining.config import PreferenceConfig, SftConfig

_Step = TypeVar("_Step", SftConfig, PreferenceConfig)

SFT: dict[str, dict[str, Any]] = {
    "baby-baseline": {
        "schedule": {"learning_rate": 1e-5, "warmup_ratio": 0.03, "final_ratio": 0.1}, "epochs": 1.0, "global_batch_size": 128,
        "max_length": 8192, "packing": "none", "assistant_only_loss": True, "clip_grad": 1.0, "lora": None,
    },
    "smollm3-final": {
        "schedule": {"learning_rate": 2e-5, "warmup_ratio": 0.03, "final_ratio": 0.1}, "epochs": 5.0, "global_batch_size": 128,
        "max_length": 65_536, "packing": "ffd", "assistant_only_loss": True, "clip_grad": 0.2, "lora": None,
    },
}  # fmt: skip
"""The first baseline (32,768 tokens for sets that are not instructions), and the last run by its configuration; the blog says 4 epochs and
best-fit (Smol Training Playbook, SFT)."""

PREFERENCE: dict[str, dict[str, Any]] = {
    "smollm3-final": {
        "loss": "apo_zero", "beta": 0.05, "schedule": {"learning_rate": 1e-6, "warmup_ratio": 0.1, "final_ratio": 0.1}, "epochs": 1.0,
        "global_batch_size": 32, "max_length": 24_576, "clip_grad": 0.2,
    },
    "tiny": {
        "loss": "apo_zero", "sft_weight": 1.0, "beta": 0.1, "schedule": {"learning_rate": 1e-4, "warmup_ratio": 0.1, "final_ratio": 0.1},
        "global_batch_size": 32, "adam_beta2": 0.98,
    },
}  # fmt: skip
"""SmolLM3's last run (Smol Training Playbook, preference), and what works below a million parameters."""


def with_preset(step: _Step, name: str) -> _Step:
    """The step with the settings of this name.

    Raises:
        ConfigError: no such preset for its kind.
    """
    known = SFT if isinstance(step, SftConfig) else PREFERENCE
    if name not in known:
        raise ConfigError(f"no preset '{name}'{nearest(name, list(known))}", where=f"step {step.name}", do="take one of the known names")
    return type(step).parse(step.model_dump(mode="json") | known[name], f"preset {name}")
