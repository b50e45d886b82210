"""Generated text for the report's readers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tasks.evaluation.config import SamplingConfig
from tasks.evaluation.documents import shorten
from tasks.evaluation.generation import Sampling
from tasks.evaluation.loading import Model
from tasks.evaluation.results import Sample


def generate(model: Model, documents: Mapping[str, Sequence[str]], config: SamplingConfig, seed: int) -> list[Sample]:
    """Continue the beginning of the first documents of every source; the same seed writes the same text on the same machine."""
    how = Sampling(config.new_tokens, config.temperature, config.top_p, seed=seed)
    samples: list[Sample] = []
    for source, texts in documents.items():
        for text in texts[: config.prompts]:
            prompt = shorten(text, config.prompt_bytes).rstrip()
            (written,) = model.generate([model.tokenizer.encode(prompt)], how, 1)
            samples.append(Sample(source=source, prompt=prompt, completion=written))
    return samples
