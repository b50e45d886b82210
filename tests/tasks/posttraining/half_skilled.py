"""A tiny model that has half learned a skill, in about 45 seconds of one core: nearly always right when greedy, in one answer of three
wrong when sampled. That is where preference pairs of its own answers differ in a digit, and where a loss over them can do harm."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from tasks.posttraining.config import Mode
from tasks.posttraining.conversation import Sample
from tasks.posttraining.model_folder import load_model, load_renderer
from tasks.posttraining.rendering import Renderer
from tasks.posttraining.sampling import Sampler
from tasks.posttraining.skill_rows import skill_rows
from tasks.posttraining.verifiers import grade
from tests.tasks.data.material import prose
from tests.tasks.posttraining.answering import TEMPLATE, batch
from tests.tasks.posttraining.lab import write_model
from tests.tasks.posttraining.material import train_tokenizer

SKILL = "reverse"
MODES: tuple[Mode, ...] = ("think", "no_think")
ROWS, BATCH, RATE = 3072, 32, 3e-3
MOST, EVERY, FADE = 400, 10, 20
"""Steps at most; between checks; of the learning rate's way to nothing, in which accuracy grows to between 0.65 and 0.85."""
ENOUGH = 0.2
"""Sampled accuracy on training items at which the fade begins: a count of steps would find it elsewhere on another machine."""


def half_skilled(root: Path, seed: int) -> Path:
    """The model, 2 layers x 64 with 384 tokens: a model folder. Only items that may be trained on were shown.

    Raises:
        AssertionError: it has not learned it in 400 steps.
    """
    import torch

    tokenizer = train_tokenizer(root, _conversations, vocab_size=384)
    shape: dict[str, Any] = {"hidden_size": 64, "intermediate_size": 192, "no_rope_layer_interval": 4, "initializer_range": 0.02}
    out = write_model(tokenizer, root / "model", seed, **shape)
    renderer, model = load_renderer(out, TEMPLATE), load_model(out)
    rows = [row for mode in MODES for row in skill_rows(SKILL, mode, ROWS // len(MODES), f"{seed} {mode}")]
    rendered, rng = [renderer.render(Sample(row["messages"])) for row in rows], random.Random(seed)
    hidden = [one for name, one in model.named_parameters() if one.dim() == 2 and "embed" not in name]
    rest = [one for name, one in model.named_parameters() if one.dim() != 2 or "embed" in name]
    optimizers = [
        torch.optim.Muon(hidden, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, betas=(0.9, 0.98), weight_decay=0.0),
    ]
    end = None
    for step in range(MOST):
        if end is None and step % EVERY == 0 and _sampled(model, renderer) >= ENOUGH:
            end = step + FADE
        if step == end:
            break
        rate = RATE * min(1.0, (step + 1) / 20, (end - step) / FADE if end else 1.0)
        model.train()
        model(**batch(rng.sample(rendered, BATCH)), use_cache=False).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
            optimizer.zero_grad()
    assert end is not None, f"{MOST} steps were not enough"
    model.save_pretrained(out)
    return out


def _conversations(number: int) -> str:
    """Text with the words that the template and the questions bring, so that a conversation is 45 tokens and not 76."""
    rows = [[one["content"] for one in row["messages"]] for mode in MODES for row in skill_rows(SKILL, mode, 6, f"{number}")]
    told = [f"system\nReasoning Mode: {mode}\nuser\n{asked}\nassistant\n{said}" for mode, asked, said in rows]
    return "\n\n".join([*told, prose(number)])


def _sampled(model: Any, renderer: Renderer, count: int = 40) -> float:
    """Share of right answers at temperature 1, both modes together."""
    model.eval()
    right = 0
    for mode in MODES:
        rows = list(skill_rows(SKILL, mode, count, "check"))
        prompts = [Sample(row["messages"][:2]) for row in rows]
        answers = Sampler(model, renderer).answers(prompts, 32, 1.0, [str(at) for at in range(count)])
        right += sum(grade(told.text, row["answer"], mode, told.ended).correct for told, row in zip(answers, rows, strict=True))
    return right / (count * len(MODES))
