"""Documents on disk: Parquet files `<source>-00000.parquet` with fixed columns, written and read batch by batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import pyarrow as pa
import pyarrow.parquet as pq

from contracts.errors import InputError

FILE_BYTES = 256_000_000
GROUP_BYTES = 4_000_000
GROUP_ROWS = 10_000


class Document(NamedTuple):
    """One text with where it came from.

    `group` is what may be held out as a whole: `package:NAME`, `domain:NAME` or `file:NAME`.
    """

    id: str
    text: str
    source: str
    licence: str
    origin: str
    group: str = ""

    @property
    def size(self) -> int:
        """Bytes of the text in UTF-8."""
        return len(self.text) if self.text.isascii() else len(self.text.encode("utf-8", "replace"))


COLUMNS = ("id", "text", "source", "licence", "origin")
RAW_COLUMNS = (*COLUMNS, "group")


class DocumentWriter:
    """Writes one source's documents to `folder/<source>-NNNNN.parquet`; counts documents and bytes. Same documents, same bytes."""

    def __init__(self, folder: Path, source: str, columns: tuple[str, ...] = COLUMNS) -> None:
        self.folder, self.source, self.columns = folder, source, columns
        self.documents = self.bytes = 0
        self._rows: list[Document] = []
        self._pending = self._in_file = self._files = 0
        self._writer: pq.ParquetWriter | None = None
        folder.mkdir(parents=True, exist_ok=True)

    def add(self, document: Document) -> None:
        """Append one document."""
        size = document.size
        self._rows.append(document)
        self.documents += 1
        self.bytes += size
        self._pending += size
        if self._pending >= GROUP_BYTES or len(self._rows) >= GROUP_ROWS:
            self._flush()

    def close(self) -> None:
        """Write what is pending; a source without documents leaves one empty file, so that readers find its columns."""
        if self._rows or not self._files:
            self._flush()
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _flush(self) -> None:
        schema = pa.schema([(name, pa.string()) for name in self.columns])
        table = pa.table({name: [getattr(row, name) for row in self._rows] for name in self.columns}, schema=schema)
        if self._writer is None:
            path = self.folder / f"{self.source}-{self._files:05d}.parquet"
            self._writer = pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=["source", "licence"])
            self._files += 1
        self._writer.write_table(table)
        self._in_file += self._pending
        self._rows, self._pending = [], 0
        if self._in_file >= FILE_BYTES:
            self._writer.close()
            self._writer, self._in_file = None, 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def sources_in(folder: Path) -> list[str]:
    """Names of the sources that have Parquet files in `folder`, sorted."""
    return sorted({path.name[: -len("-00000.parquet")] for path in folder.glob("*-[0-9][0-9][0-9][0-9][0-9].parquet")})


def read_documents(folder: Path, source: str | None = None) -> Iterator[Document]:
    """Documents of `folder` (a `train` or `heldout` folder of a curate artifact, or a source artifact), of one source or of all.

    Raises:
        InputError: no such file, or a Parquet file that cannot be read, with its name.
    """
    files = sorted(folder.glob(f"{source or '*'}-[0-9][0-9][0-9][0-9][0-9].parquet"))
    if not files:
        raise InputError(
            f"no documents{f' of source {source!r}' if source else ''} found", where=str(folder), do="run the stage that writes them again"
        )
    for path in files:
        for row in parquet_rows(path, str(path)):
            yield Document(**{name: row[name] for name in RAW_COLUMNS if name in row})


def parquet_rows(handle: Any, where: str, columns: Iterable[str] | None = None) -> Iterator[dict[str, Any]]:
    """Rows of one Parquet file (a path or an open file), a few megabytes at a time.

    Raises:
        InputError: damaged, truncated or no Parquet file at all; names `where`.
    """
    try:
        with pq.ParquetFile(handle) as file:
            known = [name for name in columns if name in file.schema_arrow.names] if columns is not None else None
            for batch in file.iter_batches(batch_size=512, columns=known):
                yield from batch.to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise InputError(
            f"the Parquet file cannot be read: {str(error).splitlines()[0][:200]}",
            where=where,
            do="replace the file; it is damaged or incomplete",
        ) from error
