"""A store with small token shards."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tasks.training.material import Bench, write_shards


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A bench whose `tokenize` artifact has the sources a, b and c."""
    made = Bench(tmp_path)
    shards = tmp_path / "shards"
    shards.mkdir()
    made.commit("tokenize", "shards", write_shards(shards, {"a": 60, "b": 40, "c": 30}))
    return made
