"""GRPO: seconds per step, split into generate, score and train.

    OMP_NUM_THREADS=1 python -m benchmarks.grpo --steps 8
    OMP_NUM_THREADS=1 python -m benchmarks.grpo --model FOLDER --steps 20

Without --model the weights of a SmolLM3 of hidden 128 and 4 layers are random: its answers hardly ever end, so nearly every one is as long
as it may be, which is the dearest case. With a model that stage `sft-main` left, lengths are its own. --cpu counts CPU seconds: with one
thread they are what an idle machine would need.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import sys
import tempfile
import time
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

PARTS = ("generate", "score", "train")


def main() -> None:
    """Train a few steps with one and with two updates per batch of answers, and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="folder of a model and its tokenizer; default: random weights")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--batch", type=int, default=128, help="answers per step")
    parser.add_argument("--group", type=int, default=8, help="answers per prompt")
    parser.add_argument("--tokens", type=int, default=48, help="longest answer")
    parser.add_argument("--cpu", action="store_true", help="count CPU seconds, where others work on this machine")
    parser.add_argument("--rewards", default="exact_answer,format", help="names, separated by commas")
    arguments = parser.parse_args()
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error", TOKENIZERS_PARALLELISM="false", TRL_EXPERIMENTAL_SILENCE="1")
    warnings.simplefilter("ignore")
    if arguments.cpu:
        from tasks.posttraining import grpo_trainer, rollouts

        for module in (grpo_trainer, rollouts):
            vars(module)["time"] = SimpleNamespace(perf_counter=time.process_time)
    with tempfile.TemporaryDirectory() as own:
        model = arguments.model or _random_model(Path(own))
        cores, threads = os.cpu_count(), os.environ.get("OMP_NUM_THREADS", "all")
        print(f"{platform.processor() or platform.machine()}, {cores} cores, {threads} thread(s) of torch")
        seconds = "CPU seconds" if arguments.cpu else "seconds"
        print(f"{arguments.batch} answers a step in groups of {arguments.group}, at most {arguments.tokens} tokens; {arguments.rewards}")
        print(f"{seconds}, means of {arguments.steps} rollouts\n")
        print("| updates per batch | generate s | score s | train s | step s | answer tokens | answers/s |\n|---|---|---|---|---|---|---|")
        for iterations in (1, 2):
            print(_row(_trained(model, Path(own) / f"work-{iterations}", arguments, iterations), arguments, iterations), flush=True)


def _row(history: list[dict[str, Any]], arguments: argparse.Namespace, iterations: int) -> str:
    """Means over all steps but the first rollout, in which memory is taken and kernels are chosen."""
    steps = [line for line in history if "seconds/train" in line][iterations:]
    parts = [statistics.fmean(line[f"seconds/{part}"] for line in steps) for part in PARTS]
    lengths = [line["completions/mean_length"] for line in steps if line.get("completions/mean_length") is not None]
    cells = [*parts, sum(parts)]
    speed = arguments.batch / sum(parts)
    return f"| {iterations} | {' | '.join(f'{cell:.2f}' for cell in cells)} | {statistics.fmean(lengths):.0f} | {speed:.0f} |"


def _trained(model: Path, work: Path, arguments: argparse.Namespace, iterations: int) -> list[dict[str, Any]]:
    """The log of a training."""
    from tasks.posttraining.config import ChatTemplate, ReinforcementConfig
    from tasks.posttraining.plug import Given
    from tasks.posttraining.reinforcement import prepare
    from tasks.posttraining.requests import ReinforcementRequest
    from tasks.posttraining.skill_rows import skill_rows
    from tasks.posttraining.trl_arguments import Ground

    step = ReinforcementConfig.parse(
        {
            "prompts": [{"name": "add", "uri": "generated:add", "mode": "think"}], "mode": "think", "loss": "dapo", "learning_rate": 5e-5,
            "rewards": dict.fromkeys(arguments.rewards.split(","), 1.0), "group_size": arguments.group, "iterations": iterations,
            "global_batch_size": arguments.batch, "steps": iterations * (1 + arguments.steps), "max_answer_tokens": arguments.tokens,
            "alarms": {"stop_below": 0.0}, "placement": {"micro_batch_size": arguments.batch, "checkpoint_every": 1000},
        },
        "benchmark",
    )  # fmt: skip
    chat = work / "chat" / "reinforcement-main"
    chat.mkdir(parents=True)
    rows = list(skill_rows("add", "think", (1 + arguments.steps) * arguments.batch // arguments.group, "benchmark"))
    (chat / "add.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    request = ReinforcementRequest(template=ChatTemplate(kind="smollm3"), step=step)
    trainer = prepare(Given(request, {"model": model, "chat": work / "chat"}, work, Ground.here())).trainer
    trainer.args.eval_strategy, trainer.args.eval_on_start = "no", False
    said, sys.stdout = sys.stdout, sys.stderr
    try:
        trainer.train()
    finally:
        sys.stdout = said
    return list(trainer.state.log_history)


def _random_model(folder: Path) -> Path:
    """A SmolLM3 with hidden 128 and 4 layers, and a tokenizer of 384 tokens made from questions and answers."""
    from pydoc_data.topics import topics

    import pyarrow as pa
    import pyarrow.parquet as pq
    import torch
    from transformers import AutoTokenizer, SmolLM3Config, SmolLM3ForCausalLM

    from tasks.data import draw, tokenizer
    from tasks.data.config import TokenizerConfig

    rng = random.Random(0)
    for split, count in (("train", 4000), ("heldout", 40)):
        (folder / "curate" / split).mkdir(parents=True)
        items = [draw(rng.choice(("add", "reverse")), rng, heldout=split == "heldout") for _ in range(count)]
        common = {"source": "skills", "licence": "", "origin": "skills", "group": "skills"}
        made = [{"id": str(n), "text": f"{one.question}\n{one.steps}\n{one.said}\n", **common} for n, one in enumerate(items)]
        made += [{"id": name, "text": text, **common} for name, text in sorted(topics.items())]  # words: digits alone make no vocabulary
        pq.write_table(pa.Table.from_pylist(made), folder / "curate" / split / "skills-00000.parquet")
    out = folder / "model"
    out.mkdir()
    tokenizer(TokenizerConfig(vocab_size=384), {"curate": folder / "curate"}, out, lambda *_: None)
    tokens = AutoTokenizer.from_pretrained(out)
    torch.manual_seed(0)
    config = SmolLM3Config(
        vocab_size=len(tokens), hidden_size=128, intermediate_size=384, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=512, tie_word_embeddings=True, no_rope_layer_interval=4, use_sliding_window=False, bos_token_id=None,
        eos_token_id=tokens.eos_token_id, pad_token_id=tokens.pad_token_id,
    )  # fmt: skip
    SmolLM3ForCausalLM(config).save_pretrained(out)
    return out


if __name__ == "__main__":
    main()
