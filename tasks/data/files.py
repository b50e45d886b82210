"""Documents from folders, files, patterns and URLs: text, Markdown, JSON lines, Parquet; plain, gzip or zstandard."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from typing import IO, Any, NamedTuple
from urllib.parse import urlsplit

import fsspec
import orjson
import pyarrow as pa

from contracts.errors import InputError
from tasks.data.config import Acquisition
from tasks.data.documents import Document, parquet_rows

TEXT = {
    ".txt", ".text", ".md", ".markdown", ".rst", ".tex", ".html",
    ".py", ".c", ".h", ".cc", ".cpp", ".hpp", ".cs", ".java", ".js", ".ts", ".go", ".rs", ".rb", ".php", ".swift", ".sh", ".sql", ".lean",
}  # fmt: skip
ROWS = {".jsonl", ".ndjson", ".parquet"}
COMPRESSED = {".gz", ".zst"}
_MAX_TEXT = 1 << 30


class Found(NamedTuple):
    """One file of a source: its full path on `fs`, its name relative to the source's root, its format suffix and compression suffix."""

    fs: fsspec.AbstractFileSystem
    path: str
    name: str
    format: str
    compression: str


def find_files(source: Acquisition) -> list[Found]:
    """The files of a source of kind `files`, sorted by relative name; files of other formats in a folder are passed over.

    Raises:
        InputError: the path does not exist or cannot be reached, or holds no file of a known format.
    """
    where = f"source '{source.name}': {source.path}"
    try:
        fs, root = fsspec.url_to_fs(str(source.path))
        fs.invalidate_cache()  # a listing remembered from an earlier look would hide a change
        pattern = any(sign in root for sign in "*?[")
        folder = not pattern and fs.isdir(root)
        paths = fs.glob(root) if pattern else fs.find(root) if folder else [root] if fs.exists(root) else []
        if pattern:
            paths = [path for path in paths if not fs.isdir(path)]
    except Exception as error:  # every file system raises its own
        message = f"the path cannot be read: {type(error).__name__}: {str(error)[:200]}"
        raise InputError(message, where=where, do="check the path, the network and the credentials") from error
    if not paths:
        raise InputError("nothing is there", where=where, do="give an existing file, folder, pattern or URL")
    base = root.rstrip("/") + "/" if folder else _folder_of(root)
    found = [_found(fs, str(path), base) for path in sorted(paths)]
    known = [file for file in found if file.format in TEXT | ROWS and not _hidden(file.name)]
    if not known:
        seen = ", ".join(sorted({file.format or "no suffix" for file in found})[:8])
        raise InputError(
            f"no file of a known format (found: {seen})", where=where, do="use .txt, .md, .jsonl or .parquet; .gz and .zst too"
        )
    return known


def file_documents(source: Acquisition) -> Iterator[Document]:
    """Documents of a source of kind `files`: one per text file, one per row of JSON lines and Parquet.

    Raises:
        InputError: a file that is damaged, not UTF-8, or lacks the text column; names the file (and line).
    """
    for file in find_files(source):
        where = f"source '{source.name}': {file.path}"
        if file.format in TEXT:
            text = _read(file, where).removeprefix("\ufeff").replace("\r\n", "\n")
            yield Document(f"{source.name}/{file.name}", text, source.name, source.licence, file.name, f"file:{file.name}")
            continue
        for number, row in _rows(file, where, source.text_column):
            yield row_document(source, row, f"{file.name}:{number}", f"file:{file.name}", f"{where}:{number}")


def row_document(source: Acquisition, row: dict[str, Any], origin: str, group: str, where: str) -> Document:
    """A row as a document. Its `url`, where it has one, gives the group: whole web domains are held out."""
    if source.text_column not in row:
        known = ", ".join(sorted(map(str, row))[:12])
        raise InputError(f"no column '{source.text_column}' (there are: {known})", where=where, do="set the source's text_column")
    text = row[source.text_column]
    if text is not None and not isinstance(text, str):
        raise InputError(
            f"column '{source.text_column}' holds {type(text).__name__}, not text", where=where, do="set the source's text_column"
        )
    domain = _domain(row.get("url"))
    licence = row.get("licence") or row.get("license")
    return Document(
        f"{source.name}/{origin}", text or "", source.name, str(licence or source.licence), origin, f"domain:{domain}" if domain else group
    )


def _domain(url: Any) -> str | None:
    try:
        return urlsplit(url).hostname if isinstance(url, str) else None
    except ValueError:  # not a URL after all
        return None


def _rows(file: Found, where: str, text_column: str) -> Iterator[tuple[int, dict[str, Any]]]:
    if file.format == ".parquet":
        try:
            handle = file.fs.open(file.path, "rb")
        except OSError as error:
            raise InputError(f"the file cannot be opened: {error}", where=where, do="check the file and its permissions") from error
        with handle:
            yield from enumerate(parquet_rows(handle, where))
        return
    for number, line in enumerate(_lines(file, where), start=1):
        if not line.strip():
            continue
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise InputError(f"line {number} is not valid JSON: {error}", where=where, do="correct or remove the line") from None
        if not isinstance(row, dict):
            raise InputError(f"line {number} is not a JSON object", where=where, do=f'write one {{"{text_column}": "..."}} a line')
        yield number, row


def _lines(file: Found, where: str) -> Iterator[bytes]:
    pending = b""
    for chunk in _chunks(file, where):
        *complete, pending = (pending + chunk).split(b"\n")
        yield from complete
    if pending:
        yield pending


def _read(file: Found, where: str) -> str:
    data = b"".join(_chunks(file, where))
    if len(data) > _MAX_TEXT:
        raise InputError(f"one text file of {len(data):,} bytes", where=where, do="split it, or make it JSON lines")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 at byte {error.start}", where=where, do="convert the file to UTF-8 or leave it out") from None


def _chunks(file: Found, where: str) -> Iterator[bytes]:
    try:
        with file.fs.open(file.path, "rb") as raw, _decompressed(raw, file.compression) as stream:
            while chunk := stream.read(1 << 20):
                yield chunk
    except (OSError, EOFError, zlib.error, pa.ArrowException) as error:
        message = f"the file cannot be read: {str(error)[:200] or type(error).__name__}"
        raise InputError(message, where=where, do="replace the file; it is damaged or incomplete") from error


def _decompressed(raw: IO[bytes], compression: str) -> Any:
    if compression == ".gz":
        return gzip.GzipFile(fileobj=raw)
    return pa.CompressedInputStream(pa.PythonFile(raw, "r"), "zstd") if compression == ".zst" else raw


def _found(fs: fsspec.AbstractFileSystem, path: str, base: str) -> Found:
    name = path.removeprefix(base) if path.startswith(base) else path.rsplit("/", 1)[-1]
    stem, compression = name, ""
    for suffix in COMPRESSED:
        if name.endswith(suffix):
            stem, compression = name.removesuffix(suffix), suffix
    last = stem.rsplit("/", 1)[-1]
    return Found(fs, path, name, "." + last.rsplit(".", 1)[-1].lower() if "." in last else "", compression)


def _folder_of(root: str) -> str:
    """The folder that relative names count from: what precedes the first pattern sign, or the file's own folder."""
    cut = min((root.index(sign) for sign in "*?[" if sign in root), default=len(root))
    return root[: root[:cut].rfind("/") + 1]


def _hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))
