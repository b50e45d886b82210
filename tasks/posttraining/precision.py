"""Master weights: whatever precision a step computes in, what the optimizer updates is float32.

SmolLM3's mid-training was once moved from DeepSpeed to plain data parallelism; weights and gradients then stayed bfloat16, small updates
were rounded away, and the loss curve changed (Smol Training Playbook, reasoning mid-training: incidents).
"""

from __future__ import annotations

from typing import Any

from contracts.config import Config
from contracts.errors import ConfigError


class Precision(Config):
    """In which precisions a trainer holds and computes."""

    backend: str
    """What spreads the model: `plain`, `deepspeed` or `fsdp`."""
    weights: str
    """Of the parameters that are trained, in memory; several are joined by +."""
    compute: str
    """Of matrix products."""
    optimizer: str = ""
    """Of the optimizer's moments; empty before the first step."""

    @classmethod
    def of(cls, trainer: Any, backend: str) -> Precision:
        """What a `transformers.Trainer` holds now."""
        weights = {_name(p.dtype) for p in trainer.model.parameters() if p.requires_grad}
        states = trainer.optimizer.state.values() if trainer.optimizer is not None else ()
        moments = {_name(value.dtype) for state in states for key, value in state.items() if key in ("exp_avg", "exp_avg_sq")}
        compute = "bfloat16" if trainer.args.bf16 else "float16" if trainer.args.fp16 else "+".join(sorted(weights))
        return cls(backend=backend, weights="+".join(sorted(weights)), compute=compute, optimizer="+".join(sorted(moments)))

    @property
    def problems(self) -> list[str]:
        """What would lose small updates. DeepSpeed keeps float32 masters of lower weights by itself."""
        if self.backend == "deepspeed":
            return []
        held = {"weights": self.weights, "moments of the optimizer": self.optimizer or "float32"}
        return [f"the {name} are {dtype}" for name, dtype in held.items() if dtype != "float32"]

    def require_masters(self) -> None:
        """Refuse to train without float32 masters.

        Raises:
            ConfigError: names what is held in a lower precision.
        """
        if self.problems:
            raise ConfigError(
                f"no float32 master weights: {' and '.join(self.problems)}", where=f"backend {self.backend}",
                do="load the model in float32 and let autocast compute in bfloat16, or shard it with DeepSpeed",
            )  # fmt: skip

    def changed_since(self, before: Precision) -> str:
        """What changed between two attempts at a step, as a sentence; empty where nothing did.

        Raises:
            ConfigError: another backend, whose checkpoints this one cannot read.
        """
        if before.backend != self.backend:
            raise ConfigError(
                f"the checkpoint was written under {before.backend}, this attempt runs under {self.backend}",
                where="placement.sharding", do="go on with the sharding it was begun with, or drop the workspace and begin again",
            )  # fmt: skip
        if before.compute != self.compute:
            return f"computes in {self.compute} after {before.compute}; master weights are float32 in both"
        return ""


def _name(dtype: Any) -> str:
    return str(dtype).removeprefix("torch.")
