"""The body of the stage `release`: the final model with its card, in the formats that were asked for."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from contracts.config import Placement
from contracts.errors import InputError
from infra.job import Progress, Summary
from tasks.conversion import export_gguf, model_in, require_converter
from tasks.reporting.hub import CARD
from tasks.reporting.lineage import weights_line
from tasks.reporting.model_card import card_of, gains_of, limits_of, render_card
from tasks.reporting.release_config import ReleaseConfig


class ReleaseRequest(ReleaseConfig):
    """What the stage is given beside the model: the recipe's section, and what the card tells."""

    recipe: dict[str, Any]
    """Name and purpose of the recipe; nothing else of it is read."""
    released: str = "merge"
    """Stage whose model is released."""
    manifests: Placement[dict[str, dict[str, Any]]] = Field(default_factory=dict)
    """Stage -> manifest, of every stage of the line."""
    records: Placement[dict[str, dict[str, dict[str, Any]]]] = Field(default_factory=dict)
    """Stage -> records beside its artifact."""


def release(config: ReleaseRequest, inputs: Mapping[str, Path], out: Path, progress: Progress) -> Summary:
    """Leave a folder that a stranger can load and read: the model's files, README.md (the card, as a hub shows it) and card.md (the same).

    Args:
        inputs: `model`, the artifact of the released stage; and by its name every stage `measure-*` with its skills.json.

    Raises:
        InputError: no model there, or no manifest of the stage that made it.
        ResourceError: a GGUF file was asked for, and there is no converter; said before anything is copied.
        StageError: the converter failed.
    """
    model = model_in(inputs["model"])
    if not (model / "config.json").is_file():
        raise InputError("there is no model to release", where=str(inputs["model"]), do=f"run {config.released} again")
    if config.released not in config.manifests:
        raise InputError(f"no manifest of '{config.released}' was given", where="release", do="give the manifests of the whole line")
    gguf = "gguf" in config.formats
    if gguf:
        require_converter()
    progress(0, 3, "copying the model")
    files = sorted(file for file in model.iterdir() if file.is_file())
    for file in files:
        shutil.copyfile(file, out / file.name)
    progress(1, 3, "writing its card")
    folders = {config.released: inputs["model"]} | {role: folder for role, folder in inputs.items() if role != "model"}
    card = card_of(config.recipe, config.manifests, folders, config.released, config.records)
    text = render_card(card, config.manifests)
    for name in (CARD, "card.md"):
        (out / name).write_text(text, encoding="utf-8")
    if gguf:
        progress(2, 3, "converting to GGUF")
        export_gguf(model, out / f"{card.name}-{config.gguf_precision}.gguf", config.gguf_precision)
    shaped = weights_line(config.manifests, config.released)
    progress(3, 3, f"{card.name}: {len(files)} files and a card")
    return Summary(
        counts={"files": len(files), "stages": len(card.lineage)},
        metrics=_figures(card.final.greedy.value, card.final.sampled.value) if card.final else {},
        evidence=json.loads(json.dumps({"shaped": shaped, "gains": gains_of(card, set(shaped)), "limits": limits_of(card)})),
    )


def _figures(greedy: float, sampled: float) -> dict[str, float]:
    return {"accuracy/greedy": greedy, "accuracy/sampled": sampled}
