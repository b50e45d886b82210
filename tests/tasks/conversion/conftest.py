from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.conversion.heldout import sequences
from tests.tasks.conversion.material import TINY, Exported, build_chunk, export_chunk, model_of, write_curated, write_tokenizer


@pytest.fixture(scope="session")
def curated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_curated(tmp_path_factory.mktemp("curate"))


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory, curated: Path) -> Path:
    return write_tokenizer(tmp_path_factory.mktemp("tokenizer") / "artifact", curated)


@pytest.fixture(scope="module", autouse=True)
def parallel_state() -> Iterator[None]:
    """Each module begins and ends without a process group, so that tests elsewhere in this process find none."""
    from models import parallel

    yield
    parallel.destroy()


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, curated: Path, tokenizer: Path) -> Exported:
    heldout = sequences(curated, tokenizer, tokens=1024, length=TINY["max_sequence_length"])
    model = model_of()
    return export_chunk(build_chunk(model), model, tokenizer, heldout, tmp_path_factory.mktemp("export") / "model", "float32")
