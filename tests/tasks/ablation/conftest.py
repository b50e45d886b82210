from __future__ import annotations

from pathlib import Path

import pytest

from tests.tasks.ablation.courtroom import Courtroom


@pytest.fixture
def courtroom(tmp_path: Path) -> Courtroom:
    return Courtroom(tmp_path)
