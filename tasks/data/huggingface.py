"""Documents from a Hugging Face data set, streamed; a local folder of data files works without a network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from contracts.errors import InputError
from tasks.data.config import Acquisition
from tasks.data.documents import Document
from tasks.data.files import row_document


def huggingface_documents(source: Acquisition) -> Iterator[Document]:
    """Documents of a source of kind `huggingface`, in the data set's order.

    Raises:
        InputError: `datasets` is not installed, or the data set, split or revision cannot be reached.
    """
    where = f"source '{source.name}': {source.path}"
    for number, row in enumerate(_stream(source, where)):
        origin = f"{source.split}:{number}"
        yield row_document(source, row, origin, f"file:{source.path}", f"{where}:{origin}")


def _stream(source: Acquisition, where: str) -> Iterator[dict[str, Any]]:
    try:
        import datasets
    except ImportError:
        raise InputError("the package 'datasets' is not installed", where=where, do="pip install 'smolflow[data]'") from None
    try:
        stream = datasets.load_dataset(str(source.path), name=source.subset, split=source.split, revision=source.revision, streaming=True)
        yield from stream
    except InputError:
        raise
    except Exception as error:  # hub, file system and parser errors have no common base
        message = f"the data set cannot be read: {type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}"
        raise InputError(message, where=where, do="check name, subset, split, revision and the network") from error
