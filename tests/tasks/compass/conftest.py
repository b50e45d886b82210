"""The sections of a recipe that a plan is made from, read from the built-in recipes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from models.config import ModelConfig
from tasks.compass.config import Purpose
from tasks.data.config import DataConfig
from tasks.training.config import TrainingConfig

RECIPES = Path(__file__).parents[3] / "deployments" / "recipes"


@dataclass(frozen=True)
class Parts:
    purpose: Purpose
    model: ModelConfig
    data: DataConfig
    training: TrainingConfig


@pytest.fixture
def parts() -> Callable[..., Parts]:
    """`parts(name, change)`: the sections of a built-in recipe, after `change` edited the raw document."""

    def read(name: str, change: Callable[[dict[str, Any]], None] = lambda document: None) -> Parts:
        document = yaml.safe_load((RECIPES / f"{name}.yaml").read_text())
        change(document)
        return Parts(
            purpose=Purpose.parse(document["purpose"]),
            model=ModelConfig.parse(document["model"]),
            data=DataConfig.parse(document["data"]),
            training=TrainingConfig.parse(document["training"]),
        )

    return read
