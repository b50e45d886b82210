"""Conversations from files: JSON lines, Parquet, a JSON list, or a folder of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from contracts.errors import InputError
from tasks.posttraining.config import Mode
from tasks.posttraining.conversation import Sample

FORMATS = (".jsonl", ".ndjson", ".json", ".parquet")
_SAY = 'write one {"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]} per sample'


def read_chat(path: Path, default_mode: Mode | None = None) -> Iterator[Sample]:
    """Samples of a file, or of every file of a folder in the order of names.

    Args:
        default_mode: mode of samples that ask for none.

    Raises:
        InputError: nothing there, another format, a damaged file, or a row without `messages`; names file and line.
    """
    for file in chat_files(path):
        yield from samples_of(file_rows(file), source=file.stem, where=file.name, default_mode=default_mode)


def chat_files(path: Path) -> list[Path]:
    """The file, or every file of a known format in the folder, in the order of names.

    Raises:
        InputError: nothing there.
    """
    files = sorted(one for one in path.rglob("*") if one.suffix in FORMATS) if path.is_dir() else [path]
    if not files or not path.exists():
        raise InputError("no chat data here", where=str(path), do=f"give a file or a folder of {', '.join(FORMATS)}")
    return files


def samples_of(rows: Iterable[Any], source: str = "", where: str = "row", default_mode: Mode | None = None) -> Iterator[Sample]:
    """Samples of rows {"messages": [...], "tools"?: [...], "chat_template_kwargs"?: {...}, "source"?: "..."}.

    Raises:
        InputError: a row without `messages`.
    """
    for number, row in enumerate(rows, start=1):
        place = f"{where}:{number}"
        if not isinstance(row, Mapping) or "messages" not in row:
            known = f" (there are: {', '.join(sorted(map(str, row))[:8])})" if isinstance(row, Mapping) else ""
            raise InputError(f"no column 'messages'{known}", where=place, do=_SAY)
        kwargs, tools = row.get("chat_template_kwargs"), row.get("tools")
        if isinstance(kwargs, str):
            kwargs = _json(kwargs, f"{place}, chat_template_kwargs")
        if not isinstance(kwargs or {}, Mapping):
            raise InputError("chat_template_kwargs is not an object", where=place, do=_SAY)
        tools = _json(tools, f"{place}, tools") if isinstance(tools, str) and tools else tools
        yield Sample(row["messages"], kwargs or {}, tools, str(row.get("source") or source), place, default_mode)


def file_rows(file: Path) -> Iterator[Any]:
    """Rows of one file as they are stored.

    Raises:
        InputError: another format or a damaged file.
    """
    if file.suffix == ".parquet":
        yield from _parquet(file)
    elif file.suffix == ".json":
        found = _json(_read(file), str(file))
        if not isinstance(found, list):
            raise InputError("the file does not hold a JSON list", where=str(file), do=_SAY)
        yield from found
    elif file.suffix in FORMATS:
        try:
            with file.open(encoding="utf-8") as lines:
                for number, line in enumerate(lines, start=1):
                    if line.strip():
                        yield _json(line, f"{file}:{number}")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"the file cannot be read: {error}", where=str(file), do="replace it; it is damaged or not UTF-8") from None
    else:
        raise InputError(f"'{file.suffix}' is no format of chat data", where=str(file), do=f"give one of {', '.join(FORMATS)}")


def _parquet(file: Path) -> Iterator[Any]:
    """Rows as they are stored. A struct column gives null for every key that a row lacks: the linter reports what that does."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as opened:
            for batch in opened.iter_batches(batch_size=512):
                yield from batch.to_pylist()
    except (pa.ArrowException, OSError) as error:
        message = f"the Parquet file cannot be read: {str(error).splitlines()[0][:200]}"
        raise InputError(message, where=str(file), do="replace the file; it is damaged or incomplete") from None


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the file cannot be read: {error}", where=str(file), do="replace it; it is damaged or not UTF-8") from None


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise InputError(f"not valid JSON: {error}", where=where, do="correct or remove it") from None
