"""Number formats of training: float32, bfloat16, and the FP8 recipes of Transformer Engine on top of bfloat16."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from contracts.config import Config


class Precision(Config):
    """Formats of weights, activations and matrix products. Gradients are always accumulated and reduced in float32."""

    dtype: Literal["float32", "bfloat16"] = "float32"
    """Format of weights and activations; with bfloat16 the optimizer keeps float32 master weights."""
    fp8: Literal["hybrid", "e4m3"] | None = None
    """FP8 format of the block linears' matrix products: hybrid (e4m3 forward, e5m2 backward), e4m3, or unset: no FP8."""
    fp8_recipe: Literal["delayed", "tensorwise", "blockwise", "mxfp8"] = "tensorwise"
    """What an FP8 scale is found from: past maxima (delayed), the tensor (tensorwise), tiles of 128 (blockwise), groups of 32 (mxfp8)."""
    fp8_amax_history_len: int = Field(default=16, ge=1, le=1024)
    """Steps of past maxima that the delayed recipe looks back on; at least 16 there."""
    fp8_param: bool = False
    """Keep the linears' weights in FP8, which halves their memory and their all-gather."""
    bf16_first_layers: int = Field(default=0, ge=0)
    """First layers kept in bfloat16 under FP8."""
    bf16_last_layers: int = Field(default=0, ge=0)
    """Last layers kept in bfloat16 under FP8."""

    @model_validator(mode="after")
    def _fp8_rules(self) -> Self:
        """The rules of megatron-core 0.16 and Transformer Engine 2.11 that need no device to check."""
        ends = self.bf16_first_layers or self.bf16_last_layers
        if self.fp8 is None:
            if self.fp8_param or ends:
                raise ValueError("fp8_param and bf16_first_layers / bf16_last_layers mean nothing without fp8")
            return self
        if self.dtype != "bfloat16":
            raise ValueError("fp8 needs dtype bfloat16: everything outside the FP8 matrix products runs in it")
        if self.fp8_recipe == "delayed" and ends:
            raise ValueError("the delayed recipe cannot keep first or last layers in bfloat16 (megatron-core refuses it); use tensorwise")
        if self.fp8_recipe == "delayed" and self.fp8_amax_history_len < 16:
            raise ValueError("the delayed recipe needs fp8_amax_history_len of 16 to 1024: one step of history follows every outlier")
        if self.fp8_recipe in ("blockwise", "mxfp8") and self.fp8 != "e4m3":
            raise ValueError(f"the {self.fp8_recipe} recipe scales finely enough for e4m3 both ways; set fp8: e4m3")
        if self.fp8_recipe in ("delayed", "tensorwise") and self.fp8 != "hybrid":
            raise ValueError(f"the {self.fp8_recipe} recipe has one scale a tensor, and gradients overflow e4m3; set fp8: hybrid")
        return self

    @property
    def bytes_per_value(self) -> int:
        """Bytes of one weight or activation value outside FP8."""
        return 4 if self.dtype == "float32" else 2

    def transformer_options(self) -> dict[str, Any]:
        """The FP8 keywords of megatron-core's TransformerConfig."""
        if self.fp8 is None:
            return {}
        options: dict[str, Any] = {"fp8": self.fp8, "fp8_recipe": self.fp8_recipe, "fp8_param": self.fp8_param}
        if self.fp8_recipe == "delayed":
            options |= {"fp8_amax_history_len": self.fp8_amax_history_len, "fp8_amax_compute_algo": "max"}
        if self.bf16_first_layers or self.bf16_last_layers:
            options |= {
                "first_last_layers_bf16": True,
                "num_layers_at_start_in_bf16": self.bf16_first_layers,
                "num_layers_at_end_in_bf16": self.bf16_last_layers,
            }
        return options

    def ddp_options(self) -> dict[str, Any]:
        """The keywords of DistributedDataParallelConfig that must agree with this precision."""
        return {"grad_reduce_in_fp32": True, "fp8_param_gather": self.fp8_param}

    def optimizer_options(self) -> dict[str, Any]:
        """The keywords of megatron-core's OptimizerConfig that must agree with this precision (without params_dtype, a torch object)."""
        options: dict[str, Any] = {"bf16": self.dtype == "bfloat16"}
        return options | ({"fp8_recipe": self.fp8_recipe} if self.fp8 else {})
