"""Layer modules that take the place of Transformer Engine's where it is missing. megatron-core's own cannot do what training needs:

- its torch norm refuses sequence parallelism;
- its `DotProductAttention` refuses packed sequences and context parallelism.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from megatron.core.packed_seq_params import PackedSeqParams
from megatron.core.process_groups_config import ProcessGroupCollection
from megatron.core.transformer.module import MegatronModule
from megatron.core.transformer.transformer_config import TransformerConfig


class RMSNorm(torch.nn.Module):
    """Root-mean-square norm; under sequence parallelism its weight is marked for a gradient sum over the tensor-parallel ranks."""

    def __init__(self, config: TransformerConfig, hidden_size: int, eps: float = 1e-6, **_: Any) -> None:
        super().__init__()
        self.eps, self.shape = eps, (hidden_size,)
        self.weight = torch.nn.Parameter(torch.ones(hidden_size, dtype=config.params_dtype))
        self.weight.sequence_parallel = config.sequence_parallel  # type: ignore[attr-defined]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: [..., hidden]; the norm is taken over the last dimension."""
        return F.rms_norm(x, self.shape, self.weight, self.eps)


class _GatherSequence(torch.autograd.Function):
    """All-gather of dimension 0 over a group; backward is the matching reduce-scatter."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, group: dist.ProcessGroup) -> torch.Tensor:
        ctx.group = group
        whole = x.new_empty((group.size() * x.size(0), *x.shape[1:]))
        dist.all_gather_into_tensor(whole, x.contiguous(), group=group)
        return whole

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        gradient = gradients[0]
        part = gradient.new_empty((gradient.size(0) // ctx.group.size(), *gradient.shape[1:]))
        dist.reduce_scatter_tensor(part, gradient.contiguous(), group=ctx.group)
        return part, None


class SDPACoreAttention(MegatronModule):  # type: ignore[misc]
    """Causal attention by torch's scaled_dot_product_attention, with the interface of megatron-core's DotProductAttention.

    Knows grouped queries, packed documents (one attention per document), and context parallelism (keys and values are gathered; the chunks
    of a sequence lie in megatron-core's zig-zag order: rank r of c holds chunks r and 2c-1-r).
    """

    def __init__(
        self,
        config: TransformerConfig,
        layer_number: int,
        attn_mask_type: Any,
        attention_type: str,
        softmax_scale: float | None = None,
        pg_collection: ProcessGroupCollection | None = None,
        **_: Any,
    ) -> None:
        super().__init__(config=config)
        self.scale = softmax_scale
        self.context_group = (pg_collection or ProcessGroupCollection.use_mpu_process_groups(["cp"])).cp

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        attn_mask_type: Any = None,
        attention_bias: torch.Tensor | None = None,
        packed_seq_params: PackedSeqParams | None = None,
    ) -> torch.Tensor:
        """query [s, b, heads, d], key and value [s, b, groups, d] -> [s, b, heads x d]; packed: [t, heads, d] -> [t, heads x d].

        attention_mask: [b, 1, s, s], True where hidden (megatron-core's convention).
        """
        if packed_seq_params is not None:
            return self._packed(query, key, value, packed_seq_params)
        mask = None if attention_mask is None else ~attention_mask
        if self.context_group.size() > 1:
            key, value, mask = self._gathered(query, key, value)
        q, k, v = (t.permute(1, 2, 0, 3) for t in (query, key, value))
        return self._attend(q, k, v, mask).permute(2, 0, 1, 3).reshape(query.size(0), query.size(1), -1)

    def _attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        grouped = q.size(-3) != k.size(-3)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None, scale=self.scale, enable_gqa=grouped)

    def _packed(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, packed: PackedSeqParams) -> torch.Tensor:
        starts = packed.cu_seqlens_q.tolist()
        q, k, v = (t.transpose(0, 1)[None] for t in (query, key, value))  # four dimensions: with three, torch takes the slow path
        parts = [self._attend(q[:, :, a:b], k[:, :, a:b], v[:, :, a:b]) for a, b in itertools.pairwise(starts) if b > a]
        return torch.cat([part[0].transpose(0, 1) for part in parts]).reshape(query.size(0), -1)

    def _gathered(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        size, rank, n = self.context_group.size(), self.context_group.rank(), query.size(0) // 2
        both = _GatherSequence.apply(torch.cat([key, value], -1), self.context_group)
        key, value = both.split([key.size(-1), value.size(-1)], -1)
        chunks = [chunk for r in range(size) for chunk in (r, 2 * size - 1 - r)]
        position = torch.cat([torch.arange(c * n, (c + 1) * n, device=query.device) for c in chunks])
        mine = position[rank * 2 * n : (rank + 1) * 2 * n]
        return key, value, mine[:, None] >= position[None, :]

    def sharded_state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Nothing to save: attention has no weights."""
        return {}
