"""A sample of curated text that is spread over each source and mirrors a mixture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow.parquet as pq

from contracts.errors import ConfigError
from tasks.data.documents import read_documents, sources_in


def spread_sample(folder: Path, total_bytes: int, mixture: Mapping[str, float]) -> Iterator[str]:
    """Texts of about `total_bytes`, per source by `mixture` (empty: in proportion to their size), taken evenly over each source.

    Raises:
        ConfigError: the mixture names a source that `folder` does not have.
    """
    names = sources_in(folder)
    unknown = sorted(set(mixture) - set(names))
    if unknown:
        raise ConfigError(f"tokenizer.mixture names no source: {', '.join(unknown)}", do=f"name some of: {', '.join(names)}")
    sizes = {name: _text_bytes(folder, name) for name in names}
    weights = dict(mixture) or {name: float(size) for name, size in sizes.items()}
    whole = sum(weights.values())
    for name in names:
        budget = total_bytes * weights.get(name, 0.0) / whole
        yield from _every_nth(folder, name, budget, sizes[name])


def _every_nth(folder: Path, name: str, budget: float, size: int) -> Iterator[str]:
    """Documents whose running position crosses a step: an even spread without a random draw."""
    share = min(1.0, budget / max(1, size))
    position = 0.0
    for document in read_documents(folder, name):
        before, position = int(position), position + share
        if int(position) > before or share >= 1.0:
            yield document.text


def _text_bytes(folder: Path, name: str) -> int:
    """Uncompressed bytes of the text column, from the files' footers."""
    total = 0
    for path in folder.glob(f"{name}-[0-9][0-9][0-9][0-9][0-9].parquet"):
        footer = pq.read_metadata(path)
        column = footer.schema.names.index("text")
        total += sum(footer.row_group(group).column(column).total_uncompressed_size for group in range(footer.num_row_groups))
    return total
