"""Small inputs for the tests of the data stages: texts that pass the filters, and a whole line from real code."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path

from infra.job import Summary
from tasks.data import curate, source, tokenize, tokenizer
from tasks.data.config import DataConfig, TokenizerConfig

NOUNS = (
    "table river window letter garden engine market summer winter number history question answer morning evening language village city "
    "teacher student doctor picture music paper forest mountain island harbour bridge station kitchen bottle mirror candle blanket"
)
LINKS = ("the", "of", "and", "to", "with", "that", "have", "be")


def prose(seed: int, sentences: int = 12) -> str:
    """English-looking text that every rule of the preset `prose` lets pass; different for every seed."""
    draw, nouns = random.Random(seed), NOUNS.split()

    def sentence() -> str:
        words = [word for _ in range(6) for word in (draw.choice(LINKS), draw.choice(nouns) + draw.choice(("", "s", "ing", "ed")))]
        return " ".join(words).capitalize() + f" number {draw.randrange(10**6)}."

    return "\n\n".join(" ".join(sentence() for _ in range(3)) for _ in range(sentences // 3))


def silent(done: float, total: float, note: str) -> None:
    """A progress that nobody watches."""


def run_source(data: DataConfig, root: Path) -> Summary:
    """Run the stage `source` into `root/source`."""
    out = root / "source"
    out.mkdir(parents=True)
    return source(data.for_source(), {}, out, silent)


def run_curate(data: DataConfig, root: Path) -> Summary:
    """Run `source` and `curate` into `root`."""
    run_source(data, root)
    out = root / "curate"
    out.mkdir()
    return curate(data.for_curate(), {"source": root / "source"}, out, silent)


def run_line(data: DataConfig, wanted: TokenizerConfig, root: Path) -> Mapping[str, Summary]:
    """Run all four stages into `root`; their summaries by name."""
    summaries = {"curate": run_curate(data, root)}
    inputs = {"curate": root / "curate", "tokenizer": root / "tokenizer"}
    for name in ("tokenizer", "tokenize"):
        (root / name).mkdir()
    summaries["tokenizer"] = tokenizer(wanted, inputs, root / "tokenizer", silent)
    summaries["tokenize"] = tokenize(data.tokenize, inputs, root / "tokenize", silent)
    return summaries


def files_under(folder: Path) -> dict[str, bytes]:
    """Relative name -> bytes of every file."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def code_data(**more: object) -> DataConfig:
    """A small, real source of code."""
    one: dict[str, object] = {"name": "code", "kind": "embedded", "collection": "code", "packages": ["attrs", "click", "h2"]}
    one |= {"max_bytes": 240_000, "language": None, "filters": "code", "heldout": {"packages": ["h2"], "max_bytes": 30_000}, **more}
    return DataConfig.parse({"sources": [one]})
