"""The converted model in vLLM, through lm-eval's own adapter: for generated answers and large suites, where there is a GPU."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tasks.evaluation.generation import Sampling
from tasks.evaluation.loading import Facts, Request
from tasks.evaluation.tokens import TextTokenizer


class VllmModel:
    """`Model` over lm-eval's VLLM; vLLM chooses its own batches."""

    def __init__(self, lm: Any, tokenizer: TextTokenizer, facts: Facts) -> None:
        self._lm, self.tokenizer, self.facts = lm, tokenizer, facts

    def loglikelihoods(self, requests: Sequence[Request], batch_size: int) -> list[tuple[float, bool]]:
        """As `Model.loglikelihoods`."""
        rows = [(("", ""), list(context), list(continuation)) for context, continuation in requests]
        return list(self._lm._loglikelihood_tokens(rows, disable_tqdm=True))

    def generate(self, prompts: Sequence[Sequence[int]], how: Sampling, batch_size: int) -> list[str]:
        """As `Model.generate`."""
        from lm_eval.api.instance import Instance

        ends = [] if how.end is None else [self.tokenizer.decode([how.end], special=True)]
        settings = {"until": [*how.until, *ends], "max_gen_toks": how.new_tokens, "do_sample": how.temperature > 0, "seed": how.seed}
        settings |= {"temperature": how.temperature, "top_p": how.top_p} if how.temperature > 0 else {"temperature": 0.0}
        texts = [self.tokenizer.decode(prompt, special=True) for prompt in prompts]
        return list(
            self._lm.generate_until([Instance("generate_until", {}, (text, dict(settings)), 0) for text in texts], disable_tqdm=True)
        )

    def close(self) -> None:
        """Give the device's memory back: the engine ends."""
        engine = getattr(getattr(self._lm.model, "llm_engine", None), "engine_core", None)
        if engine is not None:
            engine.shutdown()
        self._lm.model = None


def load(folder: Path, dtype: str, seed: int) -> VllmModel:
    """Load a Hugging Face folder into vLLM.

    Raises:
        InputError: its tokenizer cannot be read, or names no token that ends a document.
    """
    from lm_eval.models.vllm_causallms import VLLM

    tokenizer = TextTokenizer(folder)
    lm = VLLM(pretrained=str(folder), dtype=dtype, seed=seed, prefix_token_id=tokenizer.end)  # type: ignore[arg-type]
    weights = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    stored = {"float32": 4, "bfloat16": 2, "float16": 2}[str(json.loads((folder / "config.json").read_text()).get("dtype", "float32"))]
    facts = Facts(f"vLLM {version('vllm')}", "cuda", int(lm.max_length), weights // stored, 0)
    return VllmModel(lm, tokenizer, facts)
