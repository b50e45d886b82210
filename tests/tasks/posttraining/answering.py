"""A tiny model that has learned a few answers by heart: what pairs, measurements and gates can be tried on in seconds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tasks.posttraining.config import ChatTemplate
from tasks.posttraining.conversation import Sample
from tasks.posttraining.model_folder import load_model, load_renderer
from tasks.posttraining.rendering import Rendering

TEMPLATE = ChatTemplate(kind="smollm3")


def batch(rendered: Sequence[Rendering]) -> dict[str, Any]:
    """Padded tensors of conversations; labels carry the mask."""
    import torch

    width = max(len(one.ids) for one in rendered)
    return {
        "input_ids": torch.tensor([one.ids + [0] * (width - len(one.ids)) for one in rendered]),
        "attention_mask": torch.tensor([[1] * len(one.ids) + [0] * (width - len(one.ids)) for one in rendered]),
        "labels": torch.tensor(
            [[id_ if on else -100 for id_, on in zip(one.ids, one.mask, strict=True)] + [-100] * (width - len(one.ids)) for one in rendered]
        ),
    }


def taught(model: Path, out: Path, rows: Sequence[dict[str, Any]], steps: int = 150) -> Path:
    """The model after it has seen these conversations over and over."""
    import torch

    torch.manual_seed(0)
    renderer, network = load_renderer(model, TEMPLATE), load_model(model)
    data = batch([renderer.render(Sample(row["messages"])) for row in rows])
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2, betas=(0.9, 0.98), weight_decay=0.0)
    network.train()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 * min(1.0, (step + 1) / 10, 2 * (steps - step) / steps)
        network(**data, use_cache=False).loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    network.save_pretrained(out)
    renderer.tokenizer.save_pretrained(out)
    return out
