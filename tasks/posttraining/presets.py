"""Published settings of post-training steps, by name. A step that says `preset: NAME` starts from them; what it says itself wins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from contracts.config import nearest

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
"""SmolLM3's last run (Smol Training Playbook, preference), and what works at a million parameters."""


def resolved(data: Any, known: Mapping[str, Mapping[str, Any]]) -> Any:
    """A step as it was written, with its preset's settings where it says nothing. The preset's name itself is not kept.

    Args:
        known: presets of its kind. One level of nesting is merged key by key: `schedule: {learning_rate: 3.0e-5}` keeps the warm-up.

    Raises:
        ValueError: no such preset, with the nearest name; or a step in which every one of its settings is written out.
    """
    if not isinstance(data, dict) or "preset" not in data:
        return data
    own = {key: value for key, value in data.items() if key != "preset"}
    name = str(data["preset"])
    if name not in known:
        raise ValueError(f"no preset '{name}'{nearest(name, sorted(known))}")
    merged = {key: _merged(value, own[key]) if key in own else value for key, value in known[name].items()}
    if merged == {key: own.get(key) for key in merged}:
        raise ValueError(f"preset '{name}' beside all of its settings would change nothing; name it in the recipe instead of them")
    return own | merged


def _merged(preset: Any, own: Any) -> Any:
    return preset | own if isinstance(preset, dict) and isinstance(own, dict) else own
