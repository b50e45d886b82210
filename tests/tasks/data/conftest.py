from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from infra.job import Summary
from tasks.data.config import DataConfig, TokenizerConfig
from tests.tasks.data.material import code_data, run_line


class Line(NamedTuple):
    """A finished run of the four data stages."""

    root: Path
    data: DataConfig
    tokenizer: TokenizerConfig
    summaries: Mapping[str, Summary]


@pytest.fixture(scope="session")
def line(tmp_path_factory: pytest.TempPathFactory) -> Line:
    root, data, wanted = tmp_path_factory.mktemp("line"), code_data(), TokenizerConfig(vocab_size=1024)
    return Line(root, data, wanted, run_line(data, wanted, root))
