"""Small shards, job specs in a store, and training jobs under torchrun."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infra.job import InputRef, JobSpec
from infra.store import Store
from models.config import ModelConfig
from tasks.data.indexed import IndexedWriter
from tasks.training.config import OptimizerConfig, Phase

CHECKOUT = Path(__file__).resolve().parents[3]
VOCABULARY = 256
MODEL = ModelConfig.parse(
    {
        "hidden_size": 64, "num_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "ffn_hidden_size": 128,
        "vocab_size": VOCABULARY, "max_sequence_length": 64, "no_rope_every": 2, "init_std": 0.125,
    }
)  # fmt: skip


def documents(number: int, seed: int, vocabulary: int = VOCABULARY, chain: int | None = None) -> list[np.ndarray]:
    """Documents that can be learned: an order-1 Markov chain of its own for each `chain` (the seed); every one ends with token 0."""
    rng = np.random.default_rng(seed)
    following = np.random.default_rng(seed if chain is None else chain).integers(1, vocabulary, size=(vocabulary, 3))
    found = []
    for length in rng.integers(10, 120, size=number):
        tokens = np.empty(length, dtype=np.int64)
        tokens[0] = rng.integers(1, vocabulary)
        for i, choice in enumerate(rng.choice(3, size=length - 1, p=[0.7, 0.2, 0.1]), 1):
            tokens[i] = following[tokens[i - 1], choice]
        tokens[-1] = 0
        found.append(tokens)
    return found


def write_shards(folder: Path, sources: dict[str, int], vocabulary: int = VOCABULARY) -> Path:
    """Token shards as the stage `tokenize` leaves them; `sources`: name -> number of training documents."""
    table = {}
    for index, (name, number) in enumerate(sources.items()):
        table[name] = {}
        for kind, part, count, seed in (("", folder, number, index), ("heldout_", folder / "heldout", 12, 100 + index)):
            chunk = documents(count, seed, vocabulary, chain=index)
            with IndexedWriter(part / name, vocabulary) as writer:
                writer.add(chunk)
            table[name] |= {f"{kind}tokens": sum(map(len, chunk)), f"{kind}documents": count}
    (folder / "shards.json").write_text(json.dumps({"vocab_size": vocabulary, "eod": 0, "sources": table}))
    return folder


def phase(name: str = "stable", **changes: Any) -> Phase:
    """A phase of 12 steps of 8 x 32 tokens over two sources."""
    base: dict[str, Any] = {
        "name": name, "tokens": 12 * 8 * 32, "mixture": {"a": 0.6, "b": 0.4}, "sequence_length": 32, "global_batch_size": 8,
        "schedule": {"shape": "constant", "learning_rate": 3e-3, "warmup_steps": 3}, "layout": {"micro_batch_size": 2},
        "checkpoint_every": 4, "evaluate_every": 6, "evaluation_sequences": 4,
    }  # fmt: skip
    return Phase.parse(base | changes, "phase")


@dataclass
class Bench:
    """A store with one committed `tokenize` artifact, and a place for jobs."""

    root: Path

    @property
    def store(self) -> Store:
        return Store.open(str(self.root / "store"))

    def commit(self, stage: str, fingerprint: str, folder: Path) -> InputRef:
        with self.store.begin(stage, fingerprint) as workspace:
            workspace.commit(fingerprint, [workspace.put("result", folder, {})])
        return InputRef(stage=stage, fingerprint=fingerprint)

    def spec(
        self, one: Phase, key: str = "w", parent: InputRef | None = None, optimizer: str = "adamw", ends: bool = False, **changes: Any
    ) -> JobSpec:
        inputs = {"tokenize": InputRef(stage="tokenize", fingerprint="shards"), **({"parent": parent} if parent else {})}
        config = {
            "model": (MODEL.model_copy(update=changes)).model_dump(mode="json"),
            "phase": one.model_dump(mode="json"),
            "optimizer": OptimizerConfig(kind=optimizer).model_dump(mode="json"),  # type: ignore[arg-type]
            "seed": 7,
            "end_when_diverged": ends,
        }
        return JobSpec(
            stage=f"train-{one.name}", craft="training", fingerprint=f"fp-{key}", workspace_key=key, store=str(self.root / "store"),
            config=config, inputs=inputs, processes=one.layout.world_size,
        )  # fmt: skip

    def here(self, spec: JobSpec, monkeypatch: pytest.MonkeyPatch, folder: str = "job") -> dict[str, Any]:
        """Run a job of one rank in this process; its result.json."""
        from models import parallel
        from tasks.training.session import run

        monkeypatch.setenv("SMOLFLOW_JOB_DIR", str(self.root / folder))
        monkeypatch.setenv("SMOLFLOW_SCRATCH", str(self.root / "scratch"))
        parallel.destroy()  # what a test before may have set up
        try:
            code = run(spec)
        finally:
            parallel.destroy()
        result = dict(json.loads((self.root / folder / "result.json").read_text()))
        assert result["exit"] == code
        return result

    def start(self, spec: JobSpec, folder: str = "job", limit: int | None = None, node: tuple[int, int] | None = None) -> Running:
        """The job in a session of its own: under torchrun where it has several ranks.

        Args:
            limit: largest file it may write, in bytes.
            node: (number of this node of two, port at which they meet); each node has one rank, and a folder and scratch of its own.
        """
        job = self.root / folder
        job.mkdir(exist_ok=True)
        (job / "spec.json").write_text(spec.model_dump_json())
        environment = os.environ | {
            "SMOLFLOW_JOB_DIR": str(job), "SMOLFLOW_SCRATCH": str((job if node else self.root) / "scratch"), "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(CHECKOUT), "GLOO_SOCKET_IFNAME": "lo", "PYTHONWARNINGS": "ignore",
        }  # fmt: skip
        torchrun = [
            "-m", "torch.distributed.run", "--nnodes=1", f"--nproc-per-node={spec.processes}", "--rdzv-backend=c10d",
            "--rdzv-endpoint=127.0.0.1:0", "--local-addr=127.0.0.1",
        ]  # fmt: skip
        if node:
            torchrun = [
                "-m", "torch.distributed.run", "--nnodes=2", f"--node-rank={node[0]}", "--nproc-per-node=1", "--master-addr=127.0.0.1",
                f"--master-port={node[1]}",
            ]  # fmt: skip
        ranks = torchrun if spec.processes > 1 else []
        # Behind whoever watches it: a moment that lasts milliseconds is then seen.
        command = ["nice", "-n", "5", sys.executable, *ranks, "-m", "tasks.training.worker", str(job / "spec.json")]
        if limit is not None:
            command = ["prlimit", f"--fsize={limit}", *command]
        with (job / "log.txt").open("ab") as log:
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True, cwd=job)
        return Running(job, process)

    def run(self, spec: JobSpec, folder: str = "job", timeout: float = 100.0, limit: int | None = None) -> dict[str, Any]:
        """Run a job to its end; its result.json."""
        return self.start(spec, folder, limit).wait(timeout)

    def part(self, spec: JobSpec, name: str) -> Path:
        """A sealed part's files, fetched."""
        with self.store.begin(spec.stage, spec.workspace_key) as workspace:
            part = next(p for p in workspace.parts() if p.name == name)
            return workspace.fetch(part, self.root / "fetched" / spec.workspace_key / name)

    def part_names(self, spec: JobSpec) -> list[str]:
        with self.store.begin(spec.stage, spec.workspace_key) as workspace:
            return [part.name for part in workspace.parts()]


@dataclass
class Running:
    """A job on its way."""

    folder: Path
    process: subprocess.Popen[bytes]

    def wait(self, timeout: float = 100.0) -> dict[str, Any]:
        """Its result.json once it has ended; the log where there is none."""
        try:
            self.process.wait(timeout)
        finally:
            self.kill()
        path = self.folder / "result.json"
        assert path.exists(), self.log()[-6000:]
        return dict(json.loads(path.read_text()))

    def kill(self) -> None:
        """SIGKILL to every process of the job, ranks (each in a session of its own) included."""
        for pid in [self.process.pid, *self.ranks()]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait(10)

    def ranks(self) -> list[int]:
        """Process ids of ranks and their helpers."""
        marker = f"SMOLFLOW_JOB_DIR={self.folder}".encode()
        return [pid for pid, text in _environments() if marker in text and pid != self.process.pid]

    def until(self, happened: Any, timeout: float = 60.0) -> bool:
        """Wait, looking often, until `happened()` or the job's end; whether it happened."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if happened():
                return True
            if self.process.poll() is not None:
                return False
            time.sleep(0.0005)
        return False

    def log(self) -> str:
        """What its processes wrote."""
        return (self.folder / "log.txt").read_text()

    def step(self) -> int:
        """Last step of which the spool tells; a line that is being written is none yet."""
        path = self.folder / "metrics.jsonl"
        lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
        return int(json.loads(lines[-1])[0]) if lines else 0


def _environments() -> Iterator[tuple[int, bytes]]:
    for place in Path("/proc").glob("[0-9]*/environ"):
        try:
            yield int(place.parent.name), place.read_bytes()
        except OSError:
            continue


def curve(folder: Path) -> dict[int, dict[str, float]]:
    """Step -> everything said about it, from a part's metrics.jsonl, without what depends on the clock."""
    found: dict[int, dict[str, float]] = {}
    for line in (folder / "metrics.jsonl").read_text().splitlines():
        step, _, values = json.loads(line)
        found.setdefault(step, {}).update({k: v for k, v in values.items() if k not in ("tokens_per_second", "mfu")})
    return found
