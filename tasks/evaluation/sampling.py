"""Generated text for the report's readers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tasks.evaluation.config import SamplingConfig
from tasks.evaluation.documents import shorten
from tasks.evaluation.loading import LoadedModel
from tasks.evaluation.results import Sample


def generate(loaded: LoadedModel, documents: Mapping[str, Sequence[str]], config: SamplingConfig, seed: int) -> list[Sample]:
    """Continue the beginning of the first documents of every source; the same seed writes the same text on the same machine."""
    import torch
    from transformers import GenerationConfig

    how = GenerationConfig(
        do_sample=config.temperature > 0,
        max_new_tokens=config.new_tokens,
        pad_token_id=loaded.end,
        eos_token_id=loaded.end,
        **({"temperature": config.temperature, "top_p": config.top_p} if config.temperature > 0 else {}),
    )
    samples: list[Sample] = []
    for source, texts in documents.items():
        for text in texts[: config.prompts]:
            prompt = shorten(text, config.prompt_bytes).rstrip()
            ids = torch.tensor([loaded.encode(prompt)], device=loaded.device)
            torch.manual_seed(seed)
            with torch.inference_mode():
                written = loaded.model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=how)
            completion = loaded.tokenizer.decode(written[0, ids.shape[1] :], skip_special_tokens=True)
            samples.append(Sample(source=source, prompt=prompt, completion=completion))
    return samples
