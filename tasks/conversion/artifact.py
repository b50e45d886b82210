"""Where a model lies in the artifact of a stage."""

from __future__ import annotations

from pathlib import Path


def model_in(artifact: Path) -> Path:
    """The Hugging Face folder: `model` in what a conversion leaves, the artifact itself of every later stage."""
    below = artifact / "model"
    return below if (below / "config.json").is_file() else artifact
