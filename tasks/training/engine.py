"""One rank's model, optimizer and forward-backward schedule: a training step, and a held-out loss. CPU and GPU alike."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
import torch.distributed as dist

from models import build
from models.build import DEVICE
from models.config import ModelConfig
from models.layout import Layout
from models.precision import Precision
from tasks.training import optimizer as optimizers
from tasks.training.batches import MicroBatch
from tasks.training.config import OptimizerConfig

# isort: split
from megatron.core import parallel_state
from megatron.core.distributed import finalize_model_grads
from megatron.core.pipeline_parallel import get_forward_backward_func
from megatron.core.utils import get_batch_on_this_cp_rank, unwrap_model


class StepResult(NamedTuple):
    """What one step did, the same on every rank."""

    loss: float
    """Mean loss of a token over the global batch."""
    grad_norm: float
    """Norm of the whole gradient before clipping; NaN where the step was not taken."""
    stop: bool
    """Some rank was asked to stop."""


class Engine:
    """Model chunks of this rank under data parallelism, with their optimizer."""

    def __init__(
        self,
        model: ModelConfig,
        layout: Layout,
        precision: Precision,
        optimizer: OptimizerConfig,
        sequence_length: int,
        *,
        rope_theta: float | None = None,
        seed: int | None = None,
    ) -> None:
        """Build everything; `models.parallel.initialise` has been called.

        Args:
            seed: draw initial weights; None: a checkpoint will fill them.
        """
        self.layout, self.sequence_length = layout, sequence_length
        chunks = build.build(model, layout, precision, sequence_length, rope_theta, seed)
        self.chunks = optimizers.wrap(chunks, layout, optimizer)
        for chunk in self.chunks:
            chunk.broadcast_params()
        self.optimizer = optimizers.optimizer_for(self.chunks, optimizer, model, layout, precision)
        self._schedule = get_forward_backward_func()
        self._positions: dict[int, torch.Tensor] = {}
        self._hooked = layout.overlap_param_gather
        for chunk in self.chunks:
            config = unwrap_model(chunk).config
            config.grad_scale_func = self.optimizer.scale_loss
            config.finalize_model_grads_func = finalize_model_grads
            config.no_sync_func = self.chunks[0].no_sync if len(self.chunks) == 1 else [one.no_sync for one in self.chunks]

    def close(self) -> None:
        """Part model and optimizer: the optimizer's views of the weights hold autograd nodes whose hooks hold the model, where Python's
        collector does not look. As long as both hold each other, the layout's process groups keep their threads (48 of gloo's)."""
        for chunk in self.chunks:
            config = unwrap_model(chunk).config
            config.grad_scale_func = config.finalize_model_grads_func = config.no_sync_func = None

    @property
    def replica(self) -> tuple[int, int]:
        """(this rank's replica, number of replicas)."""
        return parallel_state.get_data_parallel_rank(), parallel_state.get_data_parallel_world_size()

    def step(self, batches: Sequence[MicroBatch], rate: float, stop: bool = False) -> StepResult:
        """Train on this replica's micro-batches. With a loss that is not finite the weights stay as they were.

        Args:
            rate: learning rate of this step.
            stop: this rank was asked to stop; all ranks learn of it.
        """
        for chunk in self.chunks:
            chunk.zero_grad_buffer()
        self.optimizer.zero_grad()
        total, weight, stops = self._everywhere(self._run(batches, forward_only=False), stop)
        loss = total / weight
        if not math.isfinite(loss):
            return StepResult(loss, math.nan, stops)
        optimizers.set_learning_rate(self.optimizer, rate)
        _, norm, _ = self.optimizer.step()
        return StepResult(loss, math.nan if norm is None else float(norm), stops)

    def evaluate(self, batches: Sequence[MicroBatch]) -> float:
        """Mean loss of a token over all replicas' micro-batches; nothing is learned."""
        with self.weights_in_place(), torch.no_grad():
            for chunk in self.chunks:
                chunk.eval()
            total, weight, _ = self._everywhere(self._run(batches, forward_only=True))
            for chunk in self.chunks:
                chunk.train()
        return total / weight

    @contextmanager
    def weights_in_place(self) -> Iterator[None]:
        """Whole weights on every replica: an overlapped gather otherwise leaves them for the next training step to collect."""
        for chunk in self.chunks if self._hooked else ():
            chunk.disable_forward_pre_hook(param_sync=True)
        yield
        for chunk in self.chunks if self._hooked else ():
            chunk.enable_forward_pre_hook()

    def _run(self, batches: Sequence[MicroBatch], forward_only: bool) -> list[dict[str, torch.Tensor]]:
        packed = batches[0].cu_seqlens is not None
        rows, length = batches[0].tokens.shape
        iterators = [iter(batches) for _ in self.chunks]
        reports: list[dict[str, torch.Tensor]] = self._schedule(
            forward_step_func=self._forward,
            data_iterator=iterators if len(iterators) > 1 else iterators[0],
            model=self.chunks if len(self.chunks) > 1 else self.chunks[0],
            num_microbatches=len(batches),
            seq_length=rows * length if packed else length,
            micro_batch_size=1 if packed else rows,
            forward_only=forward_only,
        )
        return reports

    def _forward(self, batches: Iterator[MicroBatch], chunk: torch.nn.Module) -> tuple[torch.Tensor, Callable[[torch.Tensor], Any]]:
        batch = next(batches).to(DEVICE)
        inputs = {"tokens": batch.tokens, "labels": batch.labels, "weights": batch.weights, "positions": self._position(batch.tokens)}
        packed = None
        if batch.cu_seqlens is not None:
            packed = build.packed_params(batch.cu_seqlens)
            inputs = {name: tensor.reshape(1, -1) for name, tensor in inputs.items()}
        if self.layout.context_parallel_size > 1:
            inputs = get_batch_on_this_cp_rank(inputs)
        output = chunk(inputs["tokens"], inputs["positions"], None, labels=inputs["labels"], packed_seq_params=packed)
        weights = inputs["weights"].reshape(-1)

        def loss(token_losses: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
            total, count = (token_losses.reshape(-1).float() * weights).sum(), weights.sum()
            return total, count.to(torch.int), {"loss": torch.stack([total.detach(), count])}

        return output, loss

    def _position(self, tokens: torch.Tensor) -> torch.Tensor:
        rows, length = tokens.shape
        if rows not in self._positions:
            self._positions[rows] = torch.arange(length, device=tokens.device).repeat(rows, 1)
        return self._positions[rows]

    def _everywhere(self, reports: list[dict[str, torch.Tensor]], stop: bool = False) -> tuple[float, float, bool]:
        """Sums over all ranks of loss, weight and the wish to stop, in one exchange. Of each token's copies one counts."""
        values = torch.zeros(3, dtype=torch.float64, device=DEVICE)
        if reports and parallel_state.get_tensor_model_parallel_rank() == 0:
            values[:2] = torch.stack([report["loss"] for report in reports]).to(torch.float64).sum(0)
        values[2] = float(stop)
        if dist.get_world_size() > 1:
            dist.all_reduce(values)
        total, weight, stops = values.tolist()
        return total, weight, stops > 0
