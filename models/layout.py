"""How a model is spread over ranks, and every layout that cannot work, each with its reason."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from contracts.config import Config
from contracts.errors import ConfigError
from models.config import ModelConfig
from models.precision import Precision

Device = Literal["cpu", "cuda"]


class Layout(Config):
    """Ranks and memory-for-time trades of one phase. None of it changes what is learned, so a job continues at another layout."""

    tensor_parallel_size: int = Field(default=1, ge=1)
    """Ranks over which every matrix is split (TP)."""
    pipeline_parallel_size: int = Field(default=1, ge=1)
    """Pipeline stages over which the layers are split (PP)."""
    virtual_pipeline_parallel_size: int | None = Field(default=None, ge=2)
    """Model chunks per pipeline stage (interleaved schedule); unset: one."""
    context_parallel_size: int = Field(default=1, ge=1)
    """Ranks over which every sequence is split (CP)."""
    data_parallel_size: int = Field(default=1, ge=1)
    """Replicas that share each global batch (DP)."""
    sequence_parallel: bool = False
    """Split the norms' activations over the tensor-parallel ranks too (needs TP of 2 or more)."""
    micro_batch_size: int = Field(default=1, ge=1)
    """Sequences of one forward pass on one replica."""
    recompute: Literal["none", "selective", "full"] = "none"
    """Recompute nothing, the attention core, or every layer in the backward pass (less memory, up to a third more work)."""
    batch_p2p: bool = False
    """Post a pipeline exchange's sends and receives as one batch (GPU default of megatron-core); unset: one by one."""
    overlap_grad_reduce: bool = False
    """Reduce gradients while the backward pass runs."""
    overlap_param_gather: bool = False
    """Gather updated weights while the next forward pass runs."""
    gradient_accumulation_fusion: bool = False
    """Accumulate weight gradients inside the matrix product (GPU with Transformer Engine)."""

    @property
    def world_size(self) -> int:
        """Ranks in all: TP x PP x CP x DP."""
        return self.tensor_parallel_size * self.pipeline_parallel_size * self.context_parallel_size * self.data_parallel_size

    def microbatches(self, global_batch_size: int) -> int:
        """Forward passes of each replica in one step (gradient accumulation)."""
        return global_batch_size // (self.micro_batch_size * self.data_parallel_size)


@dataclass(frozen=True)
class _Case:
    model: ModelConfig
    layout: Layout
    precision: Precision
    sequence_length: int
    global_batch_size: int
    device: Device
    optimizer: str
    transformer_engine: bool
    compute_capability: tuple[int, int] | None
    cuda_version: tuple[int, int] | None
    devices_per_node: int | None


def check(
    model: ModelConfig,
    layout: Layout,
    precision: Precision,
    *,
    sequence_length: int,
    global_batch_size: int,
    device: Device,
    optimizer: str = "adamw",
    transformer_engine: bool | None = None,
    compute_capability: tuple[int, int] | None = None,
    cuda_version: tuple[int, int] | None = None,
    devices_per_node: int | None = None,
) -> None:
    """Refuse what cannot work, all reasons at once, before any process starts.

    Args:
        sequence_length: tokens of one sequence.
        global_batch_size: sequences of one step over all replicas.
        device: where it will run, which may be another machine than this one.
        optimizer: "adamw" or "muon".
        transformer_engine: whether it is installed there; unset: yes on cuda, no on cpu.
        compute_capability: of the GPU, e.g. (9, 0); unset: not checked.
        cuda_version: torch's CUDA version, e.g. (13, 0); unset: not checked.
        devices_per_node: GPUs in one machine; unset: not checked.

    Raises:
        ConfigError: one sentence per reason.
    """
    case = _Case(
        model=model,
        layout=layout,
        precision=precision,
        sequence_length=sequence_length,
        global_batch_size=global_batch_size,
        device=device,
        optimizer=optimizer,
        transformer_engine=device == "cuda" if transformer_engine is None else transformer_engine,
        compute_capability=compute_capability,
        cuda_version=cuda_version,
        devices_per_node=devices_per_node,
    )
    reasons = [*_tensor(case), *_pipeline(case), *_sequence(case), *_batch(case), *_optimizer(case), *_fp8(case)]
    if reasons:
        raise ConfigError(
            "; ".join(reasons), where="layout", do="change the layout, or the field of model, phase or precision that a sentence names"
        )


def _tensor(case: _Case) -> Iterator[str]:
    model, t = case.model, case.layout.tensor_parallel_size
    for name in ("num_attention_heads", "num_key_value_heads", "ffn_hidden_size", "vocab_size"):
        if getattr(model, name) % t:
            yield f"{name} {getattr(model, name)} cannot be split over tensor_parallel_size {t}"
    if model.vocab_size % 128:
        yield f"vocab_size {model.vocab_size} is no multiple of 128: padding rows would take part in the softmax; change the tokenizer"
    if case.layout.sequence_parallel and t == 1:
        yield "sequence_parallel needs tensor_parallel_size of 2 or more"
    if case.devices_per_node and t > case.devices_per_node:
        yield f"tensor_parallel_size {t} would leave the machine ({case.devices_per_node} devices): every layer would wait for the network"


def _pipeline(case: _Case) -> Iterator[str]:
    layout, layers = case.layout, case.model.num_layers
    p, v = layout.pipeline_parallel_size, layout.virtual_pipeline_parallel_size
    if layers % p:
        yield f"num_layers {layers} cannot be split over pipeline_parallel_size {p}"
    elif v and layers % (p * v):
        yield f"num_layers {layers} cannot be split over pipeline_parallel_size {p} x virtual_pipeline_parallel_size {v}"
    if v and p == 1:
        yield "virtual_pipeline_parallel_size needs pipeline_parallel_size of 2 or more"
    if v and p > 1 and layout.microbatches(case.global_batch_size) % p:
        yield (
            f"the interleaved schedule runs micro-batches in groups of pipeline_parallel_size {p}: "
            f"{layout.microbatches(case.global_batch_size)} of them cannot be grouped"
        )
    if v and layout.batch_p2p and case.device == "cpu":
        yield (
            "batch_p2p with an interleaved pipeline gives wrong gradients on gloo: with two stages the sends and receives of the one peer "
            "are posted in an order that cannot match; leave batch_p2p off"
        )


def _sequence(case: _Case) -> Iterator[str]:
    t, c, s = case.layout.tensor_parallel_size, case.layout.context_parallel_size, case.sequence_length
    if s > case.model.max_sequence_length:
        yield f"sequence_length {s} exceeds max_sequence_length {case.model.max_sequence_length}"
    if c > 1 and s % (2 * c):
        yield f"context_parallel_size {c} cuts every sequence into {2 * c} chunks; sequence_length {s} is no multiple of that"
    if case.layout.sequence_parallel and (s // c) % t:
        yield f"sequence_parallel splits sequence_length {s} evenly over context_parallel_size {c} x tensor_parallel_size {t}: impossible"
    if c > 1 and case.model.document_masking and not case.transformer_engine:
        yield "context parallelism with packed documents (document_masking) exists in Transformer Engine's attention only"


def _batch(case: _Case) -> Iterator[str]:
    layout, g = case.layout, case.global_batch_size
    slice_ = layout.micro_batch_size * layout.data_parallel_size
    if g % slice_:
        yield (
            f"global_batch_size {g} is no multiple of micro_batch_size {layout.micro_batch_size} "
            f"x data_parallel_size {layout.data_parallel_size}"
        )


def _optimizer(case: _Case) -> Iterator[str]:
    layout = case.layout
    if case.optimizer == "muon":
        if layout.tensor_parallel_size > 1:
            yield "muon orthogonalises whole matrices, and tensor parallelism splits them: it needs tensor_parallel_size 1"
        if case.precision.dtype != "float32":
            yield "muon runs in the plain float32 optimizer; use dtype float32, or adamw"
        if layout.overlap_param_gather:
            yield "overlap_param_gather belongs to the distributed optimizer, which muon does not use"
    if layout.overlap_param_gather and not layout.overlap_grad_reduce:
        yield "overlap_param_gather needs overlap_grad_reduce"
    if layout.gradient_accumulation_fusion and not (case.device == "cuda" and case.transformer_engine):
        yield "gradient_accumulation_fusion needs a GPU with Transformer Engine"


def _fp8(case: _Case) -> Iterator[str]:
    precision, layout, model = case.precision, case.layout, case.model
    if precision.fp8 is None:
        return
    if case.device == "cpu":
        yield "fp8 needs a GPU: on a CPU megatron-core would ignore it silently"
    elif not case.transformer_engine:
        yield "fp8 needs Transformer Engine: without it megatron-core would ignore it silently"
    yield from _fp8_hardware(case)
    per_stage = model.num_layers // layout.pipeline_parallel_size
    if max(precision.bf16_first_layers, precision.bf16_last_layers) > per_stage:
        yield f"bf16_first_layers and bf16_last_layers must fit in one pipeline stage of {per_stage} layers"
    tile = 128 if precision.fp8_recipe == "blockwise" else 32 if precision.fp8_recipe == "mxfp8" else 16
    t, d = layout.tensor_parallel_size, model.kv_channels
    widths = {
        "hidden_size": model.hidden_size,
        "ffn_hidden_size / TP": model.ffn_hidden_size // t,
        "query width / TP": model.num_attention_heads * d // t,
        "qkv width / TP": (model.num_attention_heads + 2 * model.num_key_value_heads) * d // t,
    }
    for name, width in widths.items():
        if width % tile:
            yield f"fp8 {precision.fp8_recipe} works on tiles of {tile}; {name} is {width}"
    tokens = layout.micro_batch_size * case.sequence_length // (layout.context_parallel_size * (t if layout.sequence_parallel else 1))
    rows = tile if precision.fp8_recipe in ("blockwise", "mxfp8") else 8
    if tokens % rows:
        yield f"fp8 {precision.fp8_recipe} needs a multiple of {rows} tokens on each rank; this layout has {tokens}"


def _fp8_hardware(case: _Case) -> Iterator[str]:
    recipe, capability = case.precision.fp8_recipe, case.compute_capability
    if capability is not None:
        name = ".".join(map(str, capability))
        if recipe == "mxfp8" and not (10, 0) <= capability < (12, 0):
            yield f"the mxfp8 recipe needs compute capability 10.x (Blackwell); this device has {name}"
        elif recipe == "blockwise" and capability < (9, 0):
            yield f"the blockwise recipe needs compute capability 9.0 (Hopper); this device has {name}"
        elif capability < (8, 9):
            yield f"fp8 needs compute capability 8.9 (Ada); this device has {name}"
    if recipe == "blockwise" and case.cuda_version is not None and case.cuda_version < (12, 9):
        yield f"the blockwise recipe needs a torch built for CUDA 12.9 or newer; this one has {'.'.join(map(str, case.cuda_version))}"
