from __future__ import annotations

from pathlib import Path

import pytest

from tasks.merging.anatomy import Anatomy, dissect
from tests.tasks.merging.material import write_model


@pytest.fixture(scope="session")
def family(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A base without a chat template, as conversion leaves one, and two chat models near it; a folder's name may hold a `+`."""
    root = tmp_path_factory.mktemp("family")
    base = write_model(root / "pretrained", 0, template=False)
    return {"pretrained": base} | {
        name: write_model(root / f"{name}+x", seed, base=base) for seed, name in enumerate(("sft-a", "sft-b"), 1)
    }


@pytest.fixture(scope="session")
def parents(family: dict[str, Path]) -> dict[str, Anatomy]:
    return {stage: dissect(folder) for stage, folder in family.items()}
