"""A/A comparison: one checkpoint evaluated twice must give one answer. What differs is drift of the harness, not of the model.

`python -m tasks.evaluation.comparison FOLDER FOLDER` compares two evaluations and ends with 1 where they differ.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pydantic import Field

from contracts.config import Config, leaves
from contracts.errors import InputError, SmolflowError
from tasks.evaluation import scores
from tasks.evaluation.scores import Scores

__all__ = ["Comparison", "Difference", "compare_checkpoint"]

TOLERANCE = 1e-4
"""Bits per byte of one document within which two evaluations agree: float32 sums in another order differ by less, a change that could move
a verdict by more."""
_SHOWN = 10


class Difference(Config):
    """One document or item on which the two evaluations differ."""

    where: str
    """Metric it belongs to: bits_per_byte/SOURCE or accuracy/TASK."""
    item: str
    """Id of the document, or digest of the item."""
    one: float | None
    """Bits of the document, or 1 right, 0 wrong; none: this evaluation lacks it."""
    other: float | None
    """The same in the other evaluation."""


class Comparison(Config):
    """What two evaluations of one checkpoint say of the harness."""

    suite: str
    """The suite of both."""
    tolerance: float
    """Bits per byte of one document within which two values agree."""
    documents: int
    """Documents that both scored."""
    items: int
    """Items that both answered."""
    differing: list[Difference]
    """Documents beyond the tolerance, items with another answer, and what only one of them has."""
    largest_bits: float
    """Largest difference of a document, in bits, within the tolerance or not."""
    largest_document: str
    """The document it belongs to; empty: no document differs."""
    changed: dict[str, tuple[str, str]] = Field({})
    """What the two were computed with, where it differs: backend, versions, device, batch..."""

    @property
    def agree(self) -> bool:
        """Whether nothing differs: another backend or version that gives the same answers is no drift."""
        return not self.differing

    def said(self) -> str:
        """For a reader, several lines."""
        compared = f"{self.documents} documents and {self.items} items compared"
        apart = f" (largest difference {self.largest_bits:.3g} bits, {self.largest_document})" if self.largest_bits else ""
        lines = [f"no drift: {compared}{apart}" if self.agree else f"DRIFT: {len(self.differing)} differ; {compared}{apart}"]
        lines += [f"  {one.where} {one.item}: {_shown(one.one)} against {_shown(one.other)}" for one in self.differing[:_SHOWN]]
        if len(self.differing) > _SHOWN:
            lines.append(f"  and {len(self.differing) - _SHOWN} more")
        lines += [f"  {what}: {one} against {other}" for what, (one, other) in self.changed.items()]
        return "\n".join(lines)


def compare_checkpoint(one: Scores, other: Scores, *, tolerance: float = TOLERANCE) -> Comparison:
    """Compare two evaluations of the same checkpoint, item by item.

    Args:
        tolerance: bits per byte of one document.

    Raises:
        InputError: they are of different suites or cannot be of one checkpoint, or nothing was measured.
    """
    _require_same(one, other)
    documents = list(_documents(one, other))
    items = list(_items(one, other))
    apart = {
        f"{where}/{name}": abs(a[0] - b[0])
        for where, name, a, b in documents
        if a is not None and b is not None and a[0] != b[0]
    }  # fmt: skip
    largest = max(apart, key=apart.__getitem__, default="")
    differing = [
        Difference(where=where, item=name, one=a and a[0], other=b and b[0])
        for where, name, a, b in documents
        if a is None or b is None or a[1] != b[1] or not abs(a[0] - b[0]) <= tolerance * a[1]
    ]
    differing += [Difference(where=where, item=name, one=a, other=b) for where, name, a, b in items if a != b]
    return Comparison(
        suite=one.suite,
        tolerance=tolerance,
        documents=sum(a is not None and b is not None for _, _, a, b in documents),
        items=sum(a is not None and b is not None for _, _, a, b in items),
        differing=differing,
        largest_bits=apart.get(largest, 0.0),
        largest_document=largest,
        changed=_changed(_computed_with(one), _computed_with(other)),
    )


def _require_same(one: Scores, other: Scores) -> None:
    if one.suite != other.suite:
        raise InputError(
            f"these evaluations are of different suites: '{one.suite}' and '{other.suite}'", do="evaluate both with one suite and version"
        )
    if one.tokenizer != other.tokenizer or one.tokens_seen != other.tokens_seen:
        what = "tokenizers" if one.tokenizer != other.tokenizer else f"{one.tokens_seen:,} and {other.tokens_seen:,} tokens"
        raise InputError(f"these evaluations are not of one checkpoint: {what} differ", do="give two evaluations of the same checkpoint")
    for evaluation in (one, other):
        if evaluation.diverged_at is not None or not (evaluation.compressed or evaluation.answered):
            raise InputError("nothing was measured in one of these evaluations", do="compare evaluations of a run that did not diverge")


_Document = tuple[float, int]  # bits, bytes


def _documents(one: Scores, other: Scores) -> Iterator[tuple[str, str, _Document | None, _Document | None]]:
    for source in sorted(one.compressed.keys() | other.compressed.keys()):
        where = f"{scores.BITS}/{source}"
        a, b = (_compressed(evaluation, source, where) for evaluation in (one, other))
        yield from ((where, name, a.get(name), b.get(name)) for name in a | b)


def _items(one: Scores, other: Scores) -> Iterator[tuple[str, str, float | None, float | None]]:
    for task in sorted(one.answered.keys() | other.answered.keys()):
        where = f"{scores.ACCURACY}/{task}"
        a, b = (_answered(evaluation, task, where) for evaluation in (one, other))
        yield from ((where, name, a.get(name), b.get(name)) for name in a | b)


def _compressed(evaluation: Scores, source: str, where: str) -> dict[str, _Document]:
    found = evaluation.compressed.get(source)
    if found is None:
        return {}
    sizes = _by_name(found.documents, found.bytes, where)
    return {name: (bits, int(sizes[name])) for name, bits in _by_name(found.documents, found.bits, where).items()}


def _answered(evaluation: Scores, task: str, where: str) -> dict[str, float]:
    found = evaluation.answered.get(task)
    return {} if found is None else _by_name(found.items, found.right, where)


def _by_name(names: Sequence[str], values: Sequence[float], where: str) -> dict[str, float]:
    if len(names) != len(values) or len(set(names)) < len(names):
        raise InputError(f"{where}: {len(values)} values for {len(set(names))} different items", do="run the stage evaluate again")
    return dict(zip(names, values, strict=True))


def _changed(one: Mapping[str, str], other: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    pairs = {what: (one.get(what, "unknown"), other.get(what, "unknown")) for what in sorted(one.keys() | other.keys())}
    return {what: (a, b) for what, (a, b) in pairs.items() if a != b}


def _computed_with(evaluation: Scores) -> dict[str, str]:
    """Backend and settings, one name each."""
    return {"backend": evaluation.backend} | {path: str(value) for path, value in leaves(evaluation.settings)}


def _shown(value: float | None) -> str:
    return "missing" if value is None else f"{value:.6g}"


def _main(folders: Sequence[str]) -> int:
    if len(folders) != 2:
        print("give the folders of two evaluations of one checkpoint", file=sys.stderr)
        return 2
    try:
        found = compare_checkpoint(*(scores.read(Path(folder)) for folder in folders))
    except SmolflowError as error:
        print(error, file=sys.stderr)
        return 2
    print(found.said())
    return 0 if found.agree else 1


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
