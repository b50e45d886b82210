"""Muon for whole weight matrices and AdamW for the rest, as one torch optimizer inside megatron-core's plain float32 optimizer.

megatron-core's own Muon needs a package that exists for Python 3.12 and later only. Fused matrices are orthogonalised part by part: query,
key and value; gate and up. At a million parameters it is worth twice the tokens of AdamW.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import torch.distributed as dist

from models.config import ModelConfig

_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
_STEPS = 5
Split = Callable[[torch.Tensor], list[torch.Tensor]]


def orthogonalise(gradient: torch.Tensor) -> torch.Tensor:
    """A matrix near the closest (semi-)orthogonal one to `gradient` [rows, columns]: five quintic Newton-Schulz iterations.

    Coefficients of Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024); they bring singular values to
    about 1 (0.7 to 1.2), not to exactly 1.
    """
    a, b, c = _NEWTON_SCHULZ
    x = gradient / (gradient.norm() + 1e-7)
    tall = x.size(0) > x.size(1)
    if tall:
        x = x.mT
    for _ in range(_STEPS):
        s = x @ x.mT
        x = torch.addmm(x, torch.addmm(s, s, s, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


def parts(name: str, model: ModelConfig) -> Split | None:
    """How the parameter `name` is cut into the matrices that Muon orthogonalises, as views; None: AdamW's (embedding, output, norms).

    megatron-core stacks query, key and value per key/value group, and gate over up.
    """
    if name.endswith("linear_qkv.weight"):
        per_group, d = model.num_attention_heads // model.num_key_value_heads, model.kv_channels

        def heads(w: torch.Tensor) -> list[torch.Tensor]:
            grouped = w.view(model.num_key_value_heads, (per_group + 2) * d, w.size(1))
            return list(grouped.split([per_group * d, d, d], dim=1))

        return heads
    if name.endswith("linear_fc1.weight"):
        return lambda w: list(w.chunk(2, dim=0))
    if name.endswith(("linear_proj.weight", "linear_fc2.weight")):
        return lambda w: [w]
    return None


class MuonAdamW(torch.optim.Optimizer):
    """Nesterov momentum, then orthogonalised, for parameters that carry `muon_parts`; AdamW for all others. Decoupled weight decay.

    The update of an m x n matrix is scaled by 0.2 sqrt(max(m, n)), which gives it the root-mean-square size of AdamW's (Moonlight,
    2502.16982), so one learning rate and weight decay serve both. Replicas share the work: each orthogonalises some of the matrices, and
    all receive all of them, so the result is that of one process.
    """

    def __init__(
        self,
        groups: Sequence[dict[str, Any]],
        lr: float,
        *,
        betas: tuple[float, float],
        eps: float,
        weight_decay: float,
        momentum: float,
        replicas: dist.ProcessGroup | None = None,
    ) -> None:
        """`replicas`: ranks that hold the same parameters and gradients; None: this one alone."""
        super().__init__(groups, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "momentum": momentum})
        self._replicas = replicas

    def prime(self) -> None:
        """Zero state for every parameter, so that a checkpoint can be read into it."""
        for group in self.param_groups:
            for p in group["params"]:
                if not self.state[p]:
                    names = ("momentum_buffer",) if hasattr(p, "muon_parts") else ("exp_avg", "exp_avg_sq")
                    self.state[p] = {"step": torch.tensor(0.0), **{name: torch.zeros_like(p) for name in names}}

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient; the gradient itself is left as it is."""
        self.prime()
        for group in self.param_groups:
            present = [p for p in group["params"] if p.grad is not None]
            for p in present:
                self.state[p]["step"] += 1
            if present and group["weight_decay"]:
                torch._foreach_mul_(present, 1.0 - group["lr"] * group["weight_decay"])
            self._muon([p for p in present if hasattr(p, "muon_parts")], group)
            self._adamw([p for p in present if not hasattr(p, "muon_parts")], group)

    def _muon(self, parameters: list[torch.Tensor], group: dict[str, Any]) -> None:
        momentum = group["momentum"]
        weights: list[torch.Tensor] = []
        updates: list[torch.Tensor] = []
        for p in parameters:
            assert p.grad is not None
            buffer = self.state[p]["momentum_buffer"].lerp_(p.grad, 1.0 - momentum)
            split: Split = p.muon_parts  # type: ignore[attr-defined]
            weights += split(p)
            updates += [part.reshape(-1, part.size(-1)) for part in split(p.grad.lerp(buffer, momentum))]
        for weight, direction in zip(weights, self._orthogonalised(updates), strict=True):
            scale = 0.2 * max(direction.shape) ** 0.5
            weight.add_(direction.view(weight.shape), alpha=-group["lr"] * scale)

    def _orthogonalised(self, updates: list[torch.Tensor]) -> list[torch.Tensor]:
        size = self._replicas.size() if self._replicas is not None else 1
        if size == 1 or not updates:
            return [orthogonalise(update) for update in updates]
        assert self._replicas is not None
        owners, rank = _owners([tuple(update.shape) for update in updates], size), self._replicas.rank()
        everything = torch.zeros(sum(update.numel() for update in updates), dtype=updates[0].dtype, device=updates[0].device)
        places = everything.split([update.numel() for update in updates])
        for update, place, owner in zip(updates, places, owners, strict=True):
            if owner == rank:
                place.copy_(orthogonalise(update).reshape(-1))
        dist.all_reduce(everything, group=self._replicas)  # each element has one summand that is not 0: the sum is exact
        return [place.view(update.shape) for update, place in zip(updates, places, strict=True)]

    def _adamw(self, parameters: list[torch.Tensor], group: dict[str, Any]) -> None:
        (b1, b2), eps, lr = group["betas"], group["eps"], group["lr"]
        for p in parameters:
            state, gradient = self.state[p], p.grad
            assert gradient is not None
            first = state["exp_avg"].lerp_(gradient, 1.0 - b1)
            second = state["exp_avg_sq"].mul_(b2).addcmul_(gradient, gradient, value=1.0 - b2)
            t = float(state["step"])
            root = (second / (1.0 - b2**t)).sqrt_().add_(eps)
            p.addcdiv_(first, root, value=-lr / (1.0 - b1**t))


def _owners(shapes: list[tuple[int, ...]], size: int) -> list[int]:
    """Which replica orthogonalises which matrix: the dearest first, each to whoever has least to do."""
    cost = [min(shape) ** 2 * max(shape) for shape in shapes]
    load, owners = [0] * size, [0] * len(shapes)
    for index in sorted(range(len(shapes)), key=lambda i: -cost[i]):
        owners[index] = load.index(min(load))
        load[owners[index]] += cost[index]
    return owners


def mark(named: Iterable[tuple[str, torch.nn.Parameter]], model: ModelConfig) -> None:
    """Tell Muon's matrices from AdamW's parameters, by name."""
    for name, parameter in named:
        split = parts(name, model)
        if split is not None:
            parameter.muon_parts = split  # type: ignore[attr-defined]
