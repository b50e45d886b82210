"""The body of the stage `convert`: Megatron checkpoint in, parity-checked Hugging Face folder out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch

from infra.job import Progress, Summary
from models import huggingface, weights
from models.count import parameters
from tasks.conversion import export, parity
from tasks.conversion.config import ConversionConfig
from tasks.conversion.findings import Check, Parity
from tasks.conversion.heldout import sequences
from tasks.conversion.reference import Reference, megatron_embedding, megatron_logits, round_weights
from tasks.conversion.tokenizer_files import TokenIds
from tasks.training import TrainedModel, load_model

_STEPS = 4.0


def convert(config: ConversionConfig, inputs: Mapping[str, Path], out: Path, progress: Progress) -> Summary:
    """Export and check.

    Args:
        inputs: `checkpoint` (artifact of the last training phase), `tokenizer`, `curate` (held-out text).
        out: gets `model/` and parity.json; parity.json also where the gate refuses, for whoever looks.

    Raises:
        GateError: the export is not the trained model; names each check and by how much.
        InputError: no training artifact, no held-out text, or a tokenizer without an end token.
        ConfigError: no transformers class fits the architecture.
        IntegrityError: the checkpoint holds a pickle that is none of megatron-core's.
    """
    progress(0, _STEPS, "reading the checkpoint")
    trained = load_model(inputs["checkpoint"])
    progress(1, _STEPS, "writing the Hugging Face folder")
    reference = _export(config, trained, inputs, out / "model")
    progress(2, _STEPS, "comparing both models on held-out text")
    found = _compare(config, trained, reference, out / "model")
    (out / "parity.json").write_text(json.dumps(found.model_dump(mode="json"), indent=1) + "\n")
    found.require("convert")
    progress(_STEPS, _STEPS, f"parity holds on {found.tokens:,} held-out tokens")
    return Summary(
        counts={"parameters": parameters(trained.model), "parity_tokens": found.tokens},
        metrics={f"parity/{_slug(check)}": check.value for check in found.checks if check.value is not None},
        evidence={"parity": found.model_dump(mode="json"), "step": trained.step},
    )


def _export(config: ConversionConfig, trained: TrainedModel, inputs: Mapping[str, Path], folder: Path) -> Reference:
    """Write the folder, and say what it must equal."""
    model, tokenizer = trained.model, inputs["tokenizer"]
    ids = TokenIds.of(tokenizer)
    fields, generation = export.config_json(huggingface.config(model), ids, config.dtype), export.generation_config_json(ids)
    export.write(folder, fields, generation, weights.export([trained.chunk], model), huggingface.shapes(model), tokenizer)
    text = sequences(inputs["curate"], tokenizer, tokens=config.heldout_tokens, length=model.max_sequence_length)
    return Reference(megatron_logits(trained.chunk), megatron_embedding(trained.chunk), text, fields, generation, tokenizer)


def _compare(config: ConversionConfig, trained: TrainedModel, reference: Reference, folder: Path) -> Parity:
    cost: list[Check] = []
    if config.dtype != "float32":
        cost = parity.rounding(folder, reference, config.rounding)
        round_weights(trained.chunk, getattr(torch, config.dtype))  # `reference` looks at these very weights
    found = parity.check(folder, reference, config.parity, config.greedy_tokens)
    return found.model_copy(update={"checks": [*found.checks, *cost]})


def _slug(check: Check) -> str:
    return check.name.replace(": ", "_").replace(" ", "_").replace("-", "_").lower()
