"""Training throughput: this trainer's engine against the same model in a plain transformers + AdamW loop, on the same data and threads.

    OMP_NUM_THREADS=1 python benchmarks/training.py --rounds 3

Runs are paired: each round runs every variant once, in turn, on one process and on two (the transformers loop under
DistributedDataParallel). Tokens per CPU second count the processor time of all ranks, so that a busy machine disturbs them less than tokens
per second of wall time.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parent.parent
VARIANTS = ("transformers", "engine", "engine, document masking", "engine, muon")
BATCH, MICRO = 8, 4


def main() -> None:
    """Run all variants and print a table; as a rank (--variant) run one and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--worlds", default="1,2")
    parser.add_argument("--variant", choices=VARIANTS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.variant:
        _rank(arguments.preset, arguments.steps, arguments.variant)
    else:
        _compare(arguments.preset, arguments.steps, arguments.rounds, [int(w) for w in arguments.worlds.split(",")])


def _compare(preset: str, steps: int, rounds: int, worlds: list[int]) -> None:
    found: dict[tuple[int, str], list[dict[str, float]]] = {}
    for round_ in range(rounds):
        for world in worlds:
            for variant in VARIANTS:
                found.setdefault((world, variant), []).append(_launch(preset, steps, variant, world))
                print(f"round {round_ + 1}, {world} process(es), {variant}: {found[world, variant][-1]}", file=sys.stderr, flush=True)
    print(f"\n{platform.processor() or platform.machine()}, {os.cpu_count()} cores, preset {preset}, {steps} steps of {BATCH} sequences\n")
    print("| processes | loop | tokens/s (best) | tokens per CPU second (median) | against transformers (median of pairs) |")
    print("|---|---|---|---|---|")
    for (world, variant), runs in found.items():
        wall, cpu = max(r["wall"] for r in runs), statistics.median(r["cpu"] for r in runs)
        pairs = statistics.median(a["cpu"] / b["cpu"] for a, b in zip(runs, found[world, "transformers"], strict=True))
        print(f"| {world} | {variant} | {wall:,.0f} | {cpu:,.0f} | {pairs:.2f} |")


def _launch(preset: str, steps: int, variant: str, world: int) -> dict[str, float]:
    torchrun = ["-m", "torch.distributed.run", "--nproc-per-node", str(world), "--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0"]
    command = [sys.executable, *torchrun, __file__, "--preset", preset, "--steps", str(steps), "--variant", variant]
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT), "PYTHONWARNINGS": "ignore", "CUDA_VISIBLE_DEVICES": ""}
    environment.setdefault("OMP_NUM_THREADS", "1")
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _rank(preset: str, steps: int, variant: str) -> None:
    import numpy as np
    import torch
    import torch.distributed as dist

    from models import parallel
    from models.config import ModelConfig
    from models.layout import Layout

    model = ModelConfig.preset(preset, document_masking="masking" in variant or "muon" in variant)
    layout = Layout(data_parallel_size=int(os.environ["WORLD_SIZE"]), micro_batch_size=MICRO)
    parallel.initialise(layout, seed=0)
    rng = np.random.default_rng(0)
    windows = rng.integers(1, model.vocab_size, size=(16, BATCH, model.max_sequence_length + 1))
    windows[rng.random(windows.shape) < 1 / 150] = 0  # a document's end about every 150 tokens
    make = _transformers if variant == "transformers" else _engine
    step = make(model, layout, variant)
    for i in range(3):
        step(windows[i])
    dist.barrier()
    wall, cpu = time.perf_counter(), time.process_time()
    for i in range(steps):
        step(windows[i % len(windows)])
    spent = torch.tensor([time.process_time() - cpu])
    wall = time.perf_counter() - wall
    dist.all_reduce(spent)
    tokens = steps * BATCH * model.max_sequence_length
    if dist.get_rank() == 0:
        print(json.dumps({"wall": tokens / wall, "cpu": tokens / float(spent)}), flush=True)
    parallel.destroy()


def _engine(model: Any, layout: Any, variant: str) -> Callable[[Any], None]:
    from models.precision import Precision
    from tasks.training.batches import micro_batches, share_of
    from tasks.training.config import OptimizerConfig
    from tasks.training.engine import Engine

    kind: Any = "muon" if "muon" in variant else "adamw"
    engine = Engine(model, layout, Precision(), OptimizerConfig(kind=kind), model.max_sequence_length, seed=0)
    share, eod = share_of(*engine.replica, BATCH), 0 if model.document_masking else None

    def step(windows: Any) -> None:
        engine.step(list(micro_batches(windows[share], MICRO, eod)), 1e-3)

    return step


def _transformers(model: Any, layout: Any, variant: str) -> Callable[[Any], None]:
    import contextlib

    import torch
    import transformers
    from torch.nn.parallel import DistributedDataParallel

    from models import huggingface
    from tasks.training.batches import share_of

    fields = huggingface.config(model)
    name = fields["architectures"][0]
    kind = getattr(transformers, name)
    net = kind(kind.config_class(**{k: v for k, v in fields.items() if k not in ("architectures", "model_type")}))
    trained = DistributedDataParallel(net) if layout.world_size > 1 else net
    decayed = [p for n, p in net.named_parameters() if p.dim() > 1 and "embed" not in n]
    rest = [p for n, p in net.named_parameters() if p.dim() == 1 or "embed" in n]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.95))
    share = share_of(torch.distributed.get_rank(), layout.data_parallel_size, BATCH)

    def step(windows: Any) -> None:
        mine = torch.from_numpy(windows[share])
        pieces = mine.split(MICRO)
        for index, piece in enumerate(pieces):
            last = index == len(pieces) - 1
            quiet = trained.no_sync() if layout.world_size > 1 and not last else contextlib.nullcontext()
            with quiet:
                logits = trained(input_ids=piece[:, :-1], use_cache=False).logits
                loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), piece[:, 1:].flatten())
                (loss / len(pieces)).backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


if __name__ == "__main__":
    main()
