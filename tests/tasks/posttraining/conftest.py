from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.posttraining import Renderer, template_text
from tasks.posttraining.config import ChatTemplate
from tests.tasks.posttraining.lab import Lab, pairs, sums, write_model
from tests.tasks.posttraining.material import train_tokenizer

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # TRL reports each trainer it makes; read when the library is first imported


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer without a template."""
    return train_tokenizer(tmp_path_factory.mktemp("chat"))


@pytest.fixture(scope="session")
def renderer(folder: Path) -> Renderer:
    """The template smollm3 with its settings at their defaults."""
    return Renderer.load(folder, template_text(ChatTemplate(kind="smollm3")))


@pytest.fixture(scope="session")
def model(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model of 2 layers x 32 with that tokenizer."""
    return write_model(folder, tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def teacher(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another random model with the same tokenizer."""
    return write_model(folder, tmp_path_factory.mktemp("teacher"), seed=1)


@pytest.fixture
def lab(model: Path, tmp_path: Path) -> Lab:
    """A store in which sft-main finds 48 conversations, and preference-main 24 pairs and 6 held-out ones."""
    made = Lab(tmp_path, model)
    made.chat("sft-main", sums=sums(48))
    made.pairs(pairs(24), pairs(6, seed=1))
    return made


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Torch sums in this process as a job of its own does: in another order the last bits are others."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
