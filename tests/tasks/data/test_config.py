from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic import BaseModel

from contracts.config import digest, identity
from contracts.errors import ConfigError
from tasks.data.config import CurateConfig, DataConfig, FilterConfig, SourceConfig, TokenizerConfig

PROSE = {"name": "prose", "kind": "embedded", "collection": "prose"}


def test_every_field_has_a_description() -> None:
    seen: list[type[BaseModel]] = [SourceConfig, CurateConfig, DataConfig, TokenizerConfig, FilterConfig]
    for model in seen:
        for name, info in model.model_fields.items():
            assert info.description, f"{model.__name__}.{name}"


def test_round_trip_and_override() -> None:
    data = DataConfig.parse({"sources": [PROSE | {"filters": "prose"}]})
    assert DataConfig.from_yaml(data.to_yaml()) == data
    changed = data.override(["sources.prose.filters.min_words=7", "tokenize.threads=2"])
    assert changed.sources[0].filters.min_words == 7 and changed.tokenize.threads == 2


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"sources": []}, "sources"),
        ({"sources": [PROSE, PROSE]}, "two sources are called prose"),
        ({"sources": [PROSE | {"collection": None}]}, "needs 'collection'"),
        ({"sources": [{"name": "mine", "kind": "files"}]}, "needs 'path'"),
        ({"sources": [{"name": "mine", "kind": "files", "path": "x", "revision": "main"}]}, "belongs to kind 'huggingface'"),
        ({"sources": [PROSE | {"filters": "prosa"}]}, "did you mean 'prose'"),
        ({"sources": [PROSE | {"filters": {"preset": "prose", "min_wrds": 1}}]}, "did you mean 'min_words'"),
        ({"sources": [PROSE | {"name": "../etc"}]}, "name"),
        ({"sources": [{"name": "mine", "kind": "files", "path": "s3://key:secret@bucket/x"}]}, "holds credentials"),
        ({"sources": [{"name": "mine", "kind": "files", "path": "simplecache::s3://key:se/cret@bucket/x"}]}, "holds credentials"),
        ({"sources": [{"name": "mine", "kind": "huggingface", "path": "https://user@host/x"}]}, "holds credentials"),
        ({"sources": [PROSE | {"keep": 0}]}, "keep"),
    ],
)
def test_bad_data_section_is_refused(bad: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        DataConfig.parse(bad)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"vocab_size": 1000}, "multiple of 128"),
        ({"path": "s3://key:secret@bucket/tokenizer"}, "holds credentials"),
        ({"digits": "pairs"}, "digits"),
        ({"plain_tokens": ["<|pad|>"]}, "must differ"),
        ({"special_tokens": ["<|endoftext|>"]}, "at least the token"),
        ({"vocab_size": 384, "plain_tokens": [f"<{n}>" for n in range(200)]}, "cannot hold"),
    ],
)
def test_bad_tokenizer_section_is_refused(bad: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        TokenizerConfig.parse(bad)


def test_a_changed_filter_leaves_the_copied_bytes_alone() -> None:
    plain, filtered = (DataConfig.parse({"sources": [PROSE | {"filters": name}]}) for name in ("none", "prose"))
    assert plain.for_source() == filtered.for_source()
    assert digest(identity(plain.for_curate())) != digest(identity(filtered.for_curate()))


def test_published_sizes_change_no_stage() -> None:
    plain, sized = (DataConfig.parse({"sources": [PROSE | {"published_tokens": size}]}) for size in (None, 10**12))
    assert plain.for_source() == sized.for_source() and plain.for_curate() == sized.for_curate()


def test_config_module_is_light() -> None:
    heavy = ("torch", "numpy", "pyarrow", "tokenizers", "transformers", "prefect")
    code = f"import sys, tasks.data, tasks.data.config; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
