from __future__ import annotations

import pytest

from tests.tasks.evaluation.material import Line, corpus, train_tokenizer, write_curated, write_model, write_shards


@pytest.fixture(scope="session")
def line(tmp_path_factory: pytest.TempPathFactory) -> Line:
    root = tmp_path_factory.mktemp("line")
    whole = corpus()
    train = {source: texts[::2] for source, texts in whole.items()}
    tokenizer = train_tokenizer([text for texts in train.values() for text in texts[:20]])
    write_curated(root / "curate", "train", train)
    write_curated(root / "curate", "heldout", {source: texts[1::2] for source, texts in whole.items()})
    write_shards(root / "tokenize", tokenizer, train)
    write_model(root / "model" / "model", tokenizer)
    return Line(root / "curate", root / "tokenize", root / "model")
