from __future__ import annotations

from pathlib import Path

import pytest

from tests.tasks.ablation.courtroom import Courtroom
from tests.tasks.posttraining.conftest import folder, lab, model, one_thread

__all__ = ["courtroom", "folder", "lab", "model", "one_thread"]


@pytest.fixture
def courtroom(tmp_path: Path) -> Courtroom:
    return Courtroom(tmp_path)
