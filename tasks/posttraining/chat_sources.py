"""Where chat data comes from: generated skills, files anywhere fsspec reaches, data sets of a hub at one revision."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from contracts.errors import ConfigError, InputError
from tasks.data import require_skill, snapshot_digest
from tasks.data.config import Acquisition, SourceConfig
from tasks.posttraining.chat_files import chat_files, file_rows
from tasks.posttraining.config import HUB, ChatSource
from tasks.posttraining.skill_rows import skill_rows

GENERATED = "generated:"
_LIMIT = "give a file, a folder or a URL of Parquet or JSON lines, `hf:owner/dataset@revision`, or `generated:SKILL`"


def rows_of(source: ChatSource, seed: str, pairs: bool = False) -> Iterator[tuple[str, Any]]:
    """(place, row) of a source as it is stored; a generated one is made from seed and skill, so that both modes ask the same questions.

    Args:
        pairs: of a generated source a right and a wrong answer are wanted.

    Raises:
        ConfigError: no such skill, or a generated source without a number of examples.
        InputError: nothing there, a damaged file, a hub that cannot be reached.
    """
    if source.uri.startswith(GENERATED):
        skill = source.uri.removeprefix(GENERATED)
        require_skill(skill, f"source '{source.name}'")
        if source.examples is None:
            raise ConfigError("a generated source needs `examples`", where=f"source '{source.name}'", do="say how many are to be made")
        rows: Iterable[Any] = skill_rows(skill, source.mode, source.examples, f"{seed}/{skill}", pairs)
    elif source.uri.startswith(HUB):
        rows = _hub(source)
    elif "://" in source.uri:
        yield from _remote(source)
        return
    else:
        yield from _files(Path(source.uri))
        return
    for number, row in enumerate(rows, start=1):
        yield f"{source.name}:{number}", row


def chat_snapshot(sources: Iterable[ChatSource]) -> str:
    """Digest of what the sources hold now: content of local files, size and entity tag of remote ones, a data set's name and revision.

    Raises:
        InputError: a path that does not exist.
    """
    seen = [_acquired(source) for source in sources]
    return snapshot_digest(SourceConfig(sources=seen)) if seen else ""


def _acquired(source: ChatSource) -> Acquisition:
    """The source as the data craft knows it, for its digest alone."""
    common: dict[str, Any] = {"name": "chat"}
    if source.uri.startswith(GENERATED):
        return Acquisition(**common, kind="generated", skills=[source.uri.removeprefix(GENERATED)], max_bytes=1)
    if source.uri.startswith(HUB):
        name, _, revision = source.uri.removeprefix(HUB).partition("@")
        return Acquisition(
            **common, kind="huggingface", path=name, subset=source.subset or None, split=source.split, revision=revision or None
        )
    return Acquisition(**common, kind="files", path=source.uri)


def _files(path: Path) -> Iterator[tuple[str, Any]]:
    for file in chat_files(path):
        for number, row in enumerate(file_rows(file), start=1):
            yield f"{file.name}:{number}", row


def _remote(source: ChatSource) -> Iterator[tuple[str, Any]]:
    """A URL is copied first: what is read twice must not change in between."""
    import fsspec

    with tempfile.TemporaryDirectory(prefix="chat-") as folder:
        try:
            fs, root = fsspec.url_to_fs(source.uri)
            fs.get(root, folder + "/", recursive=True)
        except Exception as error:  # every file system raises its own
            said = f"the URL cannot be read: {type(error).__name__}: {str(error)[:200]}"
            raise InputError(said, where=f"source '{source.name}': {source.uri}", do=_LIMIT) from error
        yield from _files(Path(folder))


def _hub(source: ChatSource) -> Iterator[Any]:
    """Rows of a data set, streamed at a pinned revision; never with code of its own."""
    name, _, revision = source.uri.removeprefix(HUB).partition("@")
    where = f"source '{source.name}': {source.uri}"
    if not revision:
        do = f"pin it: `hf:{name}@COMMIT`, or the same recipe trains on other data tomorrow"
        raise ConfigError("a data set without a revision", where=where, do=do)
    try:
        import datasets
    except ImportError:
        raise InputError("the package 'datasets' is not installed", where=where, do="pip install 'smolflow[data]'") from None
    try:
        yield from datasets.load_dataset(name, name=source.subset or None, split=source.split, revision=revision, streaming=True)
    except Exception as error:  # hub, file system and parser errors have no common base
        said = f"the data set cannot be read: {type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}"
        raise InputError(said, where=where, do="check name, subset, split, revision and the network") from error
