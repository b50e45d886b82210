"""Documents to Megatron's .bin/.idx: our stage against datatrove's MegatronDocumentTokenizer, same Parquet in, identical files out.

    python -m benchmarks.tokenization [--megabytes 12] [--vocabularies 2048 32768] [--pairs 3]

Runs alternate and are compared pair by pair; seconds are CPU seconds of this process, threads included, so that a busy machine does not
decide. Each run reads the documents, encodes them and writes both files; the bytes must be the same or the benchmark fails.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
os.environ.setdefault("HF_HUB_OFFLINE", "1")


def prepare(root: Path, megabytes: float, vocab_size: int) -> None:
    """Curated documents (one source) and a tokenizer of `vocab_size` under `root`."""
    from tasks.data import curate, source, tokenizer
    from tasks.data.config import DataConfig, TokenizerConfig

    shared = {"kind": "embedded", "max_bytes": int(megabytes * 1e6 / 2), "filters": "none", "language": None, "heldout": {"share": 0.01}}
    data = DataConfig.parse({"sources": [{"name": name, "collection": name, **shared} for name in ("prose", "code")]})
    for name in ("source", "curate", "tokenizer"):
        (root / name).mkdir()
    source(data.for_source(), {}, root / "source", quiet)
    curate(data.for_curate(), {"source": root / "source"}, root / "curate", quiet)
    tokenizer(TokenizerConfig(vocab_size=vocab_size, digits="groups_of_three"), {"curate": root / "curate"}, root / "tokenizer", quiet)


def quiet(done: float, total: float, note: str) -> None:
    """No progress."""


def ours(root: Path, out: Path) -> None:
    """The product's own path, one thread."""
    from tasks.data import load_encoder
    from tasks.data.shards import encode_source

    encoder = load_encoder(root / "tokenizer")
    for name in ("code", "prose"):
        encode_source(encoder, root / "curate" / "train", name, out / name, lambda note: None)


def datatrove(root: Path, out: Path) -> None:
    """datatrove's reader and Megatron writer, one task, its own batching and threads."""
    from datatrove.pipeline.readers import ParquetReader
    from datatrove.pipeline.tokens.megatron_tokenizer import MegatronDocumentTokenizer

    for name in ("code", "prose"):
        reader = ParquetReader(str(root / "curate" / "train"), glob_pattern=f"{name}-*.parquet", file_progress=False, doc_progress=False)
        writer = MegatronDocumentTokenizer(str(out), save_filename=name, tokenizer_name_or_path=str(root / "tokenizer" / "tokenizer.json"))
        writer.run(reader.run(None, 0, 1), 0, 1)


def digests(folder: Path) -> list[str]:
    """sha256 of every file, in the order of sources and suffixes."""
    files = sorted(folder.iterdir(), key=lambda path: (path.name.split("_")[0].split(".")[0], path.suffix))
    return [path.suffix + hashlib.sha256(path.read_bytes()).hexdigest() for path in files]


def measure(run: Callable[[Path, Path], None], root: Path) -> tuple[float, list[str]]:
    """(CPU seconds, digests of the files) of one run."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        run(root, Path(folder))
        return time.process_time() - start, digests(Path(folder))


def compare(megabytes: float, vocab_size: int, pairs: int) -> str:
    """One row of the table.

    Raises:
        SystemExit: the two did not write the same bytes.
    """
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        prepare(root, megabytes, vocab_size)
        from tasks.data import read_documents

        size = sum(document.size for document in read_documents(root / "curate" / "train")) / 1e6
        fast: list[float] = []
        slow: list[float] = []
        for _ in range(pairs):
            (a, ours_are), (b, theirs_are) = measure(ours, root), measure(datatrove, root)
            if ours_are != theirs_are:
                raise SystemExit(f"vocabulary {vocab_size}: the files differ: {ours_are} {theirs_are}")
            fast.append(size / a)
            slow.append(size / b)
    ratios = sorted(a / b for a, b in zip(fast, slow, strict=True))
    return (
        f"| {vocab_size:,} | {size:.1f} | {statistics.median(fast):.2f} | {statistics.median(slow):.2f} | "
        f"{statistics.median(ratios):.1f}x ({ratios[0]:.1f} to {ratios[-1]:.1f}) | identical |"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--megabytes", type=float, default=12.0)
    parser.add_argument("--vocabularies", type=int, nargs="+", default=[2048, 32768])
    parser.add_argument("--pairs", type=int, default=3)
    wanted = parser.parse_args()
    from loguru import logger

    logger.disable("datatrove")
    print("| vocabulary | MB of text | ours, MB per CPU second | datatrove, MB per CPU second | ratio, median (range) | .bin and .idx |")
    print("|---|---|---|---|---|---|")
    for vocab_size in wanted.vocabularies:
        print(compare(wanted.megabytes, vocab_size, wanted.pairs), flush=True)


if __name__ == "__main__":
    main()
