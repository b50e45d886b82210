from __future__ import annotations

from pathlib import Path

import pytest

from tasks.posttraining import Renderer, template_text
from tasks.posttraining.config import ChatTemplate
from tests.tasks.posttraining.material import train_tokenizer


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer without a template."""
    return train_tokenizer(tmp_path_factory.mktemp("chat"))


@pytest.fixture(scope="session")
def renderer(folder: Path) -> Renderer:
    """The template smollm3 with its settings at their defaults."""
    return Renderer.load(folder, template_text(ChatTemplate(kind="smollm3")))
