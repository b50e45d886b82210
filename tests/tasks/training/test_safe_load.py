"""A hostile pickle in each place where a distributed checkpoint has one: it is refused, and never run."""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from contracts.errors import IntegrityError
from models import parallel
from models.layout import Layout
from tasks.training import checkpoint
from tasks.training.engine import Engine
from tests.tasks.training.spread import CASES, built


class Hostile:
    """Runs a command when it is unpickled."""

    def __init__(self, marker: str) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.marker}",)


def plant_metadata(folder: Path, hostile: Any) -> None:
    path = folder / ".metadata"
    metadata = pickle.loads(path.read_bytes())
    metadata.planner_data = hostile
    path.write_bytes(pickle.dumps(metadata))


def plant_common(folder: Path, hostile: Any) -> None:
    path = folder / "common.pt"
    torch.save(torch.load(path, weights_only=True) | {"extra": hostile}, path)


def plant_object(folder: Path, hostile: Any) -> None:
    """Put it in the place of the random state, an object shard inside a .distcp file."""
    metadata = pickle.loads((folder / ".metadata").read_bytes())
    (index,) = [i for i in metadata.storage_data if i.fqn.startswith("random_")]
    place = metadata.storage_data[index]
    buffer = io.BytesIO()
    torch.save(hostile, buffer)
    path = folder / place.relative_path
    with path.open("r+b") as file:
        file.seek(0, os.SEEK_END)
        place.offset, place.length = file.tell(), len(buffer.getvalue())
        file.write(buffer.getvalue())
    (folder / ".metadata").write_bytes(pickle.dumps(metadata))


@pytest.fixture
def engine() -> Iterator[Engine]:
    parallel.destroy()
    with built(CASES["one"], seed=5) as engine:
        yield engine
    parallel.destroy()


@pytest.fixture
def saved(engine: Engine, tmp_path: Path) -> Path:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    checkpoint.save(folder, engine.chunks, engine.optimizer)
    return folder


@pytest.mark.parametrize("plant", [plant_metadata, plant_common, plant_object])
def test_a_hostile_pickle_is_refused(engine: Engine, saved: Path, tmp_path: Path, plant: Callable[[Path, Any], None]) -> None:
    marker = tmp_path / "was-run"
    plant(saved, Hostile(str(marker)))
    with pytest.raises(IntegrityError, match="it was not run"):
        checkpoint.load(saved, engine.chunks, engine.optimizer)
    assert not marker.exists()


@pytest.mark.parametrize("plant", [plant_metadata, plant_common, plant_object])
def test_the_same_plant_with_a_harmless_value_loads(engine: Engine, saved: Path, plant: Callable[[Path, Any], None]) -> None:
    """So that the refusal above is about what is planted, not about a checkpoint that the planting broke."""
    checkpoint.load(saved, engine.chunks, engine.optimizer)
    harmless = checkpoint_random_state(saved) if plant is plant_object else {"note": 1}
    plant(saved, harmless)
    checkpoint.load(saved, engine.chunks, engine.optimizer)


def test_the_plants_would_run_elsewhere(saved: Path, tmp_path: Path) -> None:
    """The attack is real: plain unpickling runs it."""
    marker = tmp_path / "was-run"
    plant_metadata(saved, Hostile(str(marker)))
    pickle.loads((saved / ".metadata").read_bytes())
    assert marker.exists()


def test_classes_off_the_list_are_refused_though_harmless(engine: Engine, saved: Path) -> None:
    plant_metadata(saved, Layout())
    with pytest.raises(IntegrityError, match=r"models\.layout\.Layout"):
        checkpoint.load(saved, engine.chunks, engine.optimizer)


def test_torch_is_left_as_it_was(engine: Engine, saved: Path) -> None:
    from torch.distributed.checkpoint import filesystem

    before = (torch.load, filesystem.pickle, len(torch.serialization.get_safe_globals()))
    checkpoint.load(saved, engine.chunks, engine.optimizer)
    assert (torch.load, filesystem.pickle, len(torch.serialization.get_safe_globals())) == before


def checkpoint_random_state(folder: Path) -> Any:
    """The object shard that is there."""
    metadata = pickle.loads((folder / ".metadata").read_bytes())
    (index,) = [i for i in metadata.storage_data if i.fqn.startswith("random_")]
    place = metadata.storage_data[index]
    data = (folder / place.relative_path).read_bytes()[place.offset : place.offset + place.length]
    return torch.load(io.BytesIO(data), weights_only=True)
