"""Stand-in for apex's extension `fused_weight_gradient_mlp_cuda`, so that gradient_accumulation_fusion works without apex.

Transformer Engine's layers fuse by themselves; the one layer of megatron-core 0.16 that asks for apex is the native output layer. Each
function does main_grad += grad_output^T @ input in one matrix product that accumulates in main_grad's own format.
"""

from __future__ import annotations

import torch

APEX_NAME = "fused_weight_gradient_mlp_cuda"


def wgrad_gemm_accum_fp32(total_input: torch.Tensor, grad_output: torch.Tensor, main_grad: torch.Tensor) -> None:
    """Accumulate into a float32 main_grad [out, in]; total_input [..., in], grad_output [..., out]."""
    x, dy = total_input.reshape(-1, total_input.shape[-1]), grad_output.reshape(-1, grad_output.shape[-1])
    if main_grad.dtype == x.dtype:
        main_grad.addmm_(dy.t(), x)
    elif main_grad.is_cuda:
        torch.ops.aten.addmm.dtype_out(main_grad, dy.t(), x, main_grad.dtype, out=main_grad)
    else:
        main_grad.add_(dy.t().to(main_grad.dtype) @ x.to(main_grad.dtype))


wgrad_gemm_accum_fp16 = wgrad_gemm_accum_fp32
