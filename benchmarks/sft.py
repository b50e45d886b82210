"""Supervised fine-tuning: a stage of this line against a plain TRL script that does the same work on the same threads.

    OMP_NUM_THREADS=1 python -m benchmarks.sft --rounds 3

Same model (the shape of the recipe `tiny`, fresh weights), same conversations, same batches and schedule. The script hands TRL the messages
and lets it make the mask (`assistant_only_loss`); the stage renders them itself, keeps every step's metrics, puts verified checkpoints into
a store and leaves a finished folder there. Whether both end with the same loss is checked. Tokens per second of the training loop, of the
whole process after its imports, and per CPU second of the latter, which others on the machine change least.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parent.parent
VARIANTS = ("plain TRL", "stage")
BATCH, LENGTH = 32, 128


def main() -> None:
    """Run all variants and print a table; as a child (--child) run one and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--checkpoint-every", type=int, default=20)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--child", choices=("prepare", *VARIANTS), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child == "prepare":
        _prepare(arguments.folder, arguments.steps * BATCH)
    elif arguments.child:
        run = _plain if arguments.child == VARIANTS[0] else _stage
        print(json.dumps(run(arguments.folder, arguments.steps, arguments.checkpoint_every)))
    else:
        _compare(arguments.rounds, arguments.steps, arguments.checkpoint_every)


def _compare(rounds: int, steps: int, every: int) -> None:
    found: dict[str, list[dict[str, float]]] = {variant: [] for variant in VARIANTS}
    with tempfile.TemporaryDirectory() as folder:
        _child("prepare", Path(folder), steps, every)
        for number in range(1, rounds + 1):
            for variant in VARIANTS:
                found[variant].append(_child(variant, Path(folder), steps, every))
            said = ", ".join(f"{variant} {runs[-1]['per_cpu']:,.0f}" for variant, runs in found.items())
            print(f"round {number}, tokens per CPU second: {said}", file=sys.stderr, flush=True)
    losses = {variant: runs[0]["loss"] for variant, runs in found.items()}
    print(f"\n{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {steps} steps of {BATCH}, a checkpoint every {every}")
    print(f"last loss: {', '.join(f'{variant} {loss:.4f}' for variant, loss in losses.items())}\n")
    print("| | tokens/s, training loop | tokens/s, all after imports | tokens per CPU second | against plain TRL (range over pairs) |")
    print("|---|---|---|---|---|")
    for variant, runs in found.items():
        middle = {name: statistics.median(run[name] for run in runs) for name in ("loop", "all", "per_cpu")}
        pairs = [mine["per_cpu"] / plain["per_cpu"] for mine, plain in zip(runs, found[VARIANTS[0]], strict=True)]
        cells = " | ".join(f"{middle[name]:,.0f}" for name in middle)
        print(f"| {variant} | {cells} | {statistics.median(pairs):.2f} ({min(pairs):.2f} to {max(pairs):.2f}) |")


def _child(variant: str, folder: Path, steps: int, every: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.sft", "--child", variant, "--folder", str(folder), "--steps", str(steps)]
    environment = os.environ | {
        "PYTHONPATH": str(CHECKOUT), "PYTHONWARNINGS": "ignore", "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1",
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1", "TOKENIZERS_PARALLELISM": "false", "SMOLFLOW_JOB_DIR": str(folder / "job"),
        "SMOLFLOW_SCRATCH": str(folder / "scratch"),
    }  # fmt: skip
    environment.setdefault("OMP_NUM_THREADS", "1")
    done = subprocess.run(
        [*command, "--checkpoint-every", str(every)], env=environment, cwd=folder, capture_output=True, text=True, timeout=900, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    return dict(json.loads(done.stdout.splitlines()[-1])) if variant != "prepare" else {}


def _prepare(folder: Path, count: int) -> None:
    """A tokenizer of the recipe `tiny`, a fresh model of its shape with the chat template, and conversations about sums in both modes."""
    import random

    from transformers import AutoTokenizer, SmolLM3Config, SmolLM3ForCausalLM

    from flows import recipe
    from tasks import data
    from tasks.posttraining import equip, template_text
    from tasks.posttraining.config import ChatTemplate

    tiny = recipe.load("tiny")
    for name, body, config, inputs in (
        ("source", data.source, tiny.data.for_source(), ()),
        ("curate", data.curate, tiny.data.for_curate(), ("source",)),
        ("tokenizer", data.tokenizer, tiny.tokenizer, ("curate",)),
    ):
        (folder / name).mkdir()
        run: Any = body
        run(config, {one: folder / one for one in inputs}, folder / name, lambda *_: None)
    tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer")
    equip(tokenizer, template_text(ChatTemplate(kind="smollm3")))
    tokenizer.eos_token = "<|im_end|>"
    shape = tiny.model
    model = SmolLM3ForCausalLM(
        SmolLM3Config(
            vocab_size=len(tokenizer), hidden_size=shape.hidden_size, intermediate_size=shape.ffn_hidden_size,
            num_hidden_layers=shape.num_layers, num_attention_heads=shape.num_attention_heads, bos_token_id=None,
            num_key_value_heads=shape.num_key_value_heads, max_position_embeddings=512, tie_word_embeddings=True,
            eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, use_sliding_window=False,
        )
    )  # fmt: skip
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    rng, rows = random.Random(0), []
    for _ in range(count):
        a, b, mode = rng.randint(10, 99), rng.randint(10, 99), rng.choice(["think", "no_think"])
        thought = f"<think>\n{a}+{b}={a + b}\n</think>\n" if mode == "think" else ""
        answer = {"role": "assistant", "content": f"{thought}The answer is {a + b}."}
        rows.append({"messages": [{"role": "system", "content": f"/{mode}"}, {"role": "user", "content": f"What is {a}+{b}?"}, answer]})
    (folder / "chat" / "sft-main").mkdir(parents=True)
    (folder / "chat" / "sft-main" / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def _plain(folder: Path, steps: int, every: int) -> dict[str, float]:
    """What one would write without this line: read, let TRL make the mask, train, save."""
    import shutil

    import torch
    from datasets import load_dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    began, cpu = time.perf_counter(), time.process_time()
    rows = load_dataset("json", data_files=str(folder / "chat/sft-main/sums.jsonl"), split="train", cache_dir=str(folder / f"cache{began}"))
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32),
        args=SFTConfig(
            output_dir=str(folder / "plain"), max_steps=steps, per_device_train_batch_size=BATCH, learning_rate=1.5e-3, seed=0,
            lr_scheduler_type="cosine_with_min_lr", lr_scheduler_kwargs={"min_lr_rate": 0.1}, warmup_steps=0.03, adam_beta2=0.98,
            logging_steps=1, save_strategy="steps", save_steps=every, report_to=[], bf16=False, use_cpu=True, max_length=LENGTH,
            activation_checkpointing=False, assistant_only_loss=True, disable_tqdm=True,
        ),
        train_dataset=rows,
        processing_class=tokenizer,
    )  # fmt: skip
    started = time.perf_counter()
    trainer.train()
    trained = time.perf_counter() - started
    trainer.save_model(str(folder / "plain-model"))
    log = [line for line in trainer.state.log_history if "loss" in line]
    found = _figures(log[-1]["num_tokens"], trained, began, cpu, log[-1]["loss"])
    shutil.rmtree(folder / "plain")
    return found


def _stage(folder: Path, steps: int, every: int) -> dict[str, float]:
    """The stage as the flow runs it: from a store, into a store."""
    import contextlib
    import io
    import shutil

    import datasets  # noqa: F401  what the plain script imports before its clock starts, too
    import torch  # noqa: F401
    import transformers  # noqa: F401
    import trl  # noqa: F401

    from infra.job import InputRef, JobSpec
    from infra.store import Store
    from tasks.posttraining import session, sft  # noqa: F401
    from tasks.posttraining.config import ChatTemplate, SftConfig
    from tasks.posttraining.requests import SftRequest
    from tasks.posttraining.worker import main as work

    shutil.rmtree(folder / "store", ignore_errors=True)
    shutil.rmtree(folder / "job", ignore_errors=True)
    store = Store.open(str(folder / "store"))
    for role in ("model", "chat"):
        with store.begin(role, role) as workspace:
            workspace.commit(role, [workspace.put("result", folder / role)])
    settings: dict[str, Any] = {
        "sources": [{"name": "sums", "uri": "generated:add"}], "schedule": {"learning_rate": 1.5e-3}, "global_batch_size": BATCH,
        "max_length": LENGTH, "adam_beta2": 0.98, "placement": {"micro_batch_size": BATCH, "checkpoint_every": every},
    }  # fmt: skip
    request = SftRequest(template=ChatTemplate(kind="smollm3"), step=SftConfig.parse(settings, "step"))
    spec = JobSpec(
        stage="sft-main", craft="posttraining", fingerprint="f", workspace_key="w", store=store.url, config=request.model_dump(mode="json"),
        inputs={role: InputRef(stage=role, fingerprint=role) for role in ("model", "chat")},
    )  # fmt: skip
    began, cpu = time.perf_counter(), time.process_time()
    with contextlib.redirect_stdout(io.StringIO()):
        code = work(spec)
    summary = json.loads((folder / "job" / "result.json").read_text())
    if code:
        raise SystemExit(summary["reason"])
    counts, ledger = summary["summary"]["counts"], summary["summary"]["evidence"]["ledger"]["seconds"]
    last = [json.loads(line) for line in (folder / "job" / "metrics.jsonl").read_text().splitlines()][-1][2]
    return _figures(counts["tokens"], ledger["training"] + ledger.get("saving", 0.0), began, cpu, last["loss"])


def _figures(tokens: float, trained: float, began: float, cpu: float, loss: float) -> dict[str, float]:
    seconds, spent = time.perf_counter() - began, time.process_time() - cpu
    return {"loop": tokens / trained, "all": tokens / seconds, "per_cpu": tokens / spent, "loss": loss}


if __name__ == "__main__":
    main()
