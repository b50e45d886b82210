"""What each of two ranks does: it builds every model at every layout and compares it with transformers."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F

from contracts.errors import ConfigError
from models import build, huggingface, parallel, weights
from models.config import ModelConfig
from models.layout import Layout
from models.precision import Precision

# isort: split
from megatron.core import parallel_state, tensor_parallel
from megatron.core.distributed import DistributedDataParallel, DistributedDataParallelConfig, finalize_model_grads
from megatron.core.pipeline_parallel import get_forward_backward_func
from megatron.core.utils import get_batch_on_this_cp_rank, unwrap_model
from transformers import AutoConfig, AutoModelForCausalLM

SEED, LENGTH, BATCH = 3, 32, 4
STARTS = [0, 7, 20]  # of the documents in every sequence, where documents are packed
SMALL = {"num_layers": 4, "vocab_size": 512, "max_sequence_length": 64}
MODELS = {
    "SmolLM3": ModelConfig.preset("smoke", **SMALL, no_rope_every=3),  # a period that does not divide the depth
    "Llama": ModelConfig.preset("smoke", **SMALL, no_rope_every=0, residual_init="scaled"),
    "Qwen3": ModelConfig.preset("smoke", **SMALL, no_rope_every=0, qk_norm=True, z_loss=0.01, tie_embeddings=False, head_dim=24),
}
LAYOUTS = {
    "TP2": Layout(tensor_parallel_size=2),
    "TP2+SP": Layout(tensor_parallel_size=2, sequence_parallel=True),
    "TP2+SP full recompute": Layout(tensor_parallel_size=2, sequence_parallel=True, recompute="full"),
    "PP2": Layout(pipeline_parallel_size=2),
    "PP2xVPP2": Layout(pipeline_parallel_size=2, virtual_pipeline_parallel_size=2),
    "DP2": Layout(data_parallel_size=2, micro_batch_size=2),
    "DP2 selective recompute": Layout(data_parallel_size=2, recompute="selective"),
    "CP2": Layout(context_parallel_size=2),
}


def tokens(model: ModelConfig) -> torch.Tensor:
    return torch.randint(0, model.vocab_size, (BATCH, LENGTH + 1), generator=torch.Generator().manual_seed(5))


def positions(packed: bool) -> torch.Tensor:
    if not packed:
        return torch.arange(LENGTH)
    return torch.cat([torch.arange(end - start) for start, end in zip(STARTS, [*STARTS[1:], LENGTH], strict=True)])


@cache
def reference(model: ModelConfig, packed: bool) -> tuple[torch.Tensor, float, dict[str, torch.Tensor]]:
    """Logits, loss and gradients of the transformers model with the same initial weights."""
    config = AutoConfig.for_model(**huggingface.config(model))
    net = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    drawn = {name: weights.initial_weight(model, name, shape, SEED) for name, shape in huggingface.shapes(model).items()}
    net.load_state_dict(drawn, strict=not model.tie_embeddings)
    mask = None
    if packed:
        document = torch.zeros(LENGTH, dtype=torch.long)
        document[STARTS[1:]] = 1
        document = document.cumsum(0)
        seen = (document[:, None] == document[None, :]) & torch.ones(LENGTH, LENGTH, dtype=torch.bool).tril()
        mask = torch.zeros(LENGTH, LENGTH).masked_fill(~seen, float("-inf")).expand(BATCH, 1, -1, -1)
    data = tokens(model)
    logits = net(data[:, :-1], position_ids=positions(packed).expand(BATCH, -1), attention_mask=mask, use_cache=False).logits
    loss = F.cross_entropy(logits.flatten(0, 1), data[:, 1:].flatten(), reduction="none")
    loss = (loss + model.z_loss * logits.logsumexp(-1).flatten() ** 2).mean()
    loss.backward()
    return logits.detach(), float(loss.detach()), {name: p.grad for name, p in net.named_parameters() if p.grad is not None}


def batches(model: ModelConfig, layout: Layout, packed: bool) -> Iterator[dict[str, Any]]:
    """This replica's micro-batches, as the trainer would hand them to a chunk."""
    share = BATCH // layout.data_parallel_size
    first = parallel_state.get_data_parallel_rank() * share
    for rows in tokens(model)[first : first + share].split(layout.micro_batch_size):
        batch = {
            "tokens": rows[:, :-1].contiguous(),
            "labels": rows[:, 1:].contiguous(),
            "position_ids": positions(packed).expand(len(rows), -1).contiguous(),
        }
        if packed:
            starts = [row * LENGTH + start for row in range(len(rows)) for start in STARTS]
            packing = build.packed_params(torch.tensor([*starts, len(rows) * LENGTH], dtype=torch.int32))
            yield {name: value.reshape(1, -1) for name, value in batch.items()} | {"packed_seq_params": packing}
        else:
            yield get_batch_on_this_cp_rank(batch) | {"packed_seq_params": None}


def run(chunks: list[torch.nn.Module], model: ModelConfig, layout: Layout, packed: bool, backward: bool) -> list[Any]:
    """One pass of the pipeline schedule: the last stage's sums of losses, or its logits."""

    def step(iterator: Iterator[dict[str, Any]], chunk: torch.nn.Module) -> tuple[torch.Tensor, Any]:
        batch = next(iterator)
        labels = batch["labels"] if backward else None
        out = chunk(batch["tokens"], batch["position_ids"], None, labels=labels, packed_seq_params=batch["packed_seq_params"])

        def report(out: torch.Tensor, non_loss_data: bool = False) -> Any:
            if non_loss_data:
                return tensor_parallel.gather_from_tensor_model_parallel_region(out)
            return (
                out.sum(),
                torch.tensor(out.numel(), dtype=torch.int),
                torch.stack([out.detach().sum(), torch.tensor(float(out.numel()))]),
            )

        return out, report

    data = [batches(model, layout, packed) for _ in chunks]
    rows = layout.micro_batch_size
    result: list[Any] = get_forward_backward_func()(
        forward_step_func=step,
        data_iterator=data if len(chunks) > 1 else data[0],
        model=chunks,
        num_microbatches=layout.microbatches(BATCH),
        seq_length=LENGTH * rows if packed else LENGTH,
        micro_batch_size=1 if packed else rows,
        forward_only=not backward,
        collect_non_loss_data=not backward,
    )
    return result


def logits_difference(model: ModelConfig, layout: Layout, packed: bool) -> float:
    parallel.initialise(layout, seed=1)
    chunks = build.build(model, layout, Precision(), LENGTH, seed=SEED)
    with torch.no_grad():
        result = run(chunks, model, layout, packed, backward=False)
    difference = 0.0
    if parallel_state.is_pipeline_last_stage():
        share = BATCH // layout.data_parallel_size
        expected = reference(model, packed)[0][parallel_state.get_data_parallel_rank() * share :][:share]
        difference = float((torch.cat(result).reshape(expected.shape) - expected).abs().max())
    return worst(difference)


def training_difference(model: ModelConfig, layout: Layout, packed: bool) -> dict[str, float]:
    """Loss, every gradient (relative to its largest value), and whether an export gives the initial weights back."""
    parallel.initialise(layout, seed=1)
    built = build.build(model, layout, Precision(), LENGTH, seed=SEED)
    config = unwrap_model(built[0]).config
    ddp = DistributedDataParallelConfig(grad_reduce_in_fp32=True)
    chunks = [DistributedDataParallel(config, ddp, chunk, disable_bucketing=index > 0) for index, chunk in enumerate(built)]
    config.finalize_model_grads_func = finalize_model_grads
    config.no_sync_func = [chunk.no_sync for chunk in chunks] if len(chunks) > 1 else chunks[0].no_sync
    result = run(chunks, model, layout, packed, backward=True)
    total = sum(result) if parallel_state.is_pipeline_last_stage() else torch.zeros(2)
    dist.all_reduce(total, group=parallel_state.get_data_parallel_group(with_context_parallel=True))
    dist.broadcast(total, parallel_state.get_pipeline_model_parallel_last_rank(), group=parallel_state.get_pipeline_model_parallel_group())
    _, loss, gradients = reference(model, packed)
    main = {id(p): p.main_grad for chunk in chunks for p in chunk.parameters()}
    got = dict(gradient_export(chunks, model, main))
    gradient = max(float((got[name] - value).abs().max() / value.abs().max()) for name, value in gradients.items())
    drawn = {name: weights.initial_weight(model, name, shape, SEED) for name, shape in huggingface.shapes(model).items()}
    exported = dict(weights.export(chunks, model))
    same = list(exported) == list(drawn) and all(torch.equal(exported[name], drawn[name]) for name in drawn)
    return {"loss": worst(abs(float(total[0] / total[1]) - loss)), "gradient": worst(gradient), "export": worst(float(not same))}


def gradient_export(chunks: list[Any], model: ModelConfig, main: dict[int, torch.Tensor]) -> Iterator[tuple[str, torch.Tensor]]:
    """The gradients, exported as if they were the weights, which are put back afterwards."""
    kept = {id(p): p.data.clone() for chunk in chunks for p in chunk.parameters()}
    for chunk in chunks:
        for p in chunk.parameters():
            p.data.copy_(main[id(p)])
    yield from weights.export(chunks, model)
    for chunk in chunks:
        for p in chunk.parameters():
            p.data.copy_(kept[id(p)])


def bfloat16_difference(model: ModelConfig, layout: Layout) -> float:
    parallel.initialise(layout, seed=1)
    chunks = build.build(model, layout, Precision(dtype="bfloat16"), LENGTH, seed=SEED)
    with torch.no_grad():
        logits = torch.cat(run(chunks, model, layout, False, backward=False))
    expected = reference(model, False)[0]
    return worst(float((logits - expected).norm() / expected.norm()))


def refusals() -> dict[str, str]:
    """Messages of what must be refused once processes run."""
    tiny, layout = MODELS["SmolLM3"], Layout(context_parallel_size=2)
    parallel.initialise(layout, seed=1)
    attempts: dict[str, Any] = {
        "fp8": lambda: build.transformer_config(tiny, layout, Precision(dtype="bfloat16", fp8="hybrid")),
        "documents": lambda: build.packed_params(torch.tensor([0, 7, 20, 32], dtype=torch.int32)),
        "processes": lambda: parallel.initialise(Layout(tensor_parallel_size=4), seed=1),
    }
    messages = {}
    for name, attempt in attempts.items():
        try:
            attempt()
        except ConfigError as error:
            messages[name] = str(error)
    return messages


def worst(value: float) -> float:
    """The largest value of all ranks."""
    tensor = torch.tensor(value if value == value else float("inf"))
    dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
    return float(tensor)


def differences(folder: Path) -> dict[str, Any]:
    """Everything that was compared, by what it was compared at."""
    results: dict[str, Any] = {}
    for name, layout in LAYOUTS.items():
        for model in MODELS:
            packed = layout.context_parallel_size == 1 and model != "Qwen3"
            if model != "Llama":
                results[f"{name} {model}"] = training_difference(MODELS[model], layout, packed)
                parallel.destroy(keep_processes=True)
            if name in ("TP2", "PP2", "DP2"):
                results[f"{name} {model} logits"] = logits_difference(MODELS[model], layout, packed)
                parallel.destroy(keep_processes=True)
    results["bfloat16"] = bfloat16_difference(MODELS["Llama"], LAYOUTS["TP2"])
    parallel.destroy(keep_processes=True)
    results["refusals"] = refusals()
    parallel.destroy()
    return results
