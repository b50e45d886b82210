"""Merging: time and peak memory of one merge, with its integrity checks, against the size of the model.

    OMP_NUM_THREADS=1 python -m benchmarks.merging --rounds 3

Parents are random models in bfloat16 of SmolLM3's shape; values do not change what a merge costs. Every case is a process of its own that
does nothing else. Prints Markdown. CPU seconds of the whole merge (read, compute in float32, write, look at the result), and the largest
resident memory over what the process held before; pages of mapped files count in it, though the system may take them back.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parent.parent
SIZES = {"small": (256, 4, 8_192), "medium": (512, 8, 32_768), "large": (1024, 16, 49_152)}
"""Name -> width, layers, vocabulary: about 6, 47 and 275 million parameters."""
METHODS = ("linear", "slerp", "task_arithmetic", "dare_linear", "model_stock", "ties")
NAMES = ("base", "a", "b")


def main() -> None:
    """Run every case and print a table; as a child (--child) make the parents, or merge once and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=["small", "medium"])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        size, method, folder = arguments.child
        print(json.dumps(_parents(size, Path(folder)) if method == "parents" else _merge(method, Path(folder))))
        return
    from infra.job import machine

    print(f"machine: {machine()}\n")
    print("| parameters | one parent | method | CPU s | peak memory over the start |\n|---|---|---|---|---|")
    for size in arguments.sizes:
        with tempfile.TemporaryDirectory() as own:
            made = _child(size, "parents", own)
            for method in arguments.methods:
                runs = [_child(size, method, own) for _ in range(arguments.rounds)]
                seconds, peak = (statistics.median(run[what] for run in runs) for what in ("seconds", "peak"))
                print(
                    f"| {made['parameters'] / 1e6:.1f} M | {made['bytes'] / 1e6:.0f} MB | {method} | {seconds:.2f} | {peak / 1e6:.0f} MB |",
                    flush=True,
                )


def _child(size: str, method: str, folder: str) -> dict[str, Any]:
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT), "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-m", "benchmarks.merging", "--child", size, method, folder]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=CHECKOUT, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{size} {method}: {done.stderr[-2000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _parents(size: str, folder: Path) -> dict[str, int]:
    import torch
    from transformers import SmolLM3Config, SmolLM3ForCausalLM

    width, layers, vocabulary = SIZES[size]
    config = SmolLM3Config(
        vocab_size=vocabulary, hidden_size=width, intermediate_size=4 * width, num_hidden_layers=layers, num_attention_heads=width // 64,
        num_key_value_heads=max(1, width // 256), tie_word_embeddings=True, bos_token_id=None, eos_token_id=2, pad_token_id=3,
    )  # fmt: skip
    counted = 0
    for seed, name in enumerate(NAMES):
        torch.manual_seed(seed)
        model: Any = SmolLM3ForCausalLM(config)
        model.to(torch.bfloat16)
        counted = sum(parameter.numel() for parameter in model.parameters())
        model.save_pretrained(folder / name)
        (folder / name / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {}}}))  # merges look at it and do not read it
    return {"parameters": counted, "bytes": sum(file.stat().st_size for file in (folder / "a").glob("*.safetensors"))}


def _merge(method: str, folder: Path) -> dict[str, float]:
    import mergekit.merge  # noqa: F401  importing it is no part of a merge

    from tasks.merging.anatomy import dissect
    from tasks.merging.config import NEEDS_BASE, Candidate, MergingConfig
    from tasks.merging.merge import merge

    inputs = [{"stage": name, "weight": 0.5, "density": 0.5} for name in ("a", "b")]
    candidate = Candidate.parse({"name": "m", "method": method, "inputs": inputs, "base": "base" if method in NEEDS_BASE else ""})
    config = MergingConfig.parse({"candidates": [candidate.model_dump()]})
    parents = {name: dissect(folder / name) for name in NAMES}
    held, began = _resident(), time.process_time()
    with tempfile.TemporaryDirectory() as out:
        merge(candidate, parents, config, Path(out) / "m")
    seconds = time.process_time() - began
    return {"seconds": seconds, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - held}


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


if __name__ == "__main__":
    main()
