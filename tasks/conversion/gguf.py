"""GGUF, the format of llama.cpp: written by its own converter, where that is found.

That converter knows a tokenizer by a hash of the tokens that a fixed text becomes, so one that a recipe trained is unknown to it. Such a
tokenizer is recognised here by the pattern that cuts its text, and the converter is told llama.cpp's name of that pattern.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from contracts.errors import ConfigError, ResourceError, StageError
from tasks.data import split_pattern

CONVERTER = "convert_hf_to_gguf.py"
VARIABLE = "LLAMA_CPP"
"""Environment variable with llama.cpp's checkout, or the path of its converter."""
Precision = Literal["f32", "f16", "bf16", "q8_0"]
NO_ROPE_EVERY = 4
"""llama.cpp's `n_no_rope_layer_step` of SmolLM3, a constant there."""
CUTS = {split_pattern("single"): "qwen2", split_pattern("groups_of_three"): "dbrx"}
"""A trained tokenizer's pattern -> the name of the same in llama.cpp, but for contractions in mixed case ('Re, 'lL), which only that one
cuts off. (`llama-bpe` has the pattern of `dbrx` and passes over the order of merges.)"""


def require_converter() -> Path:
    """llama.cpp's converter: in the folder (or at the path) that LLAMA_CPP names, else on the PATH.

    Raises:
        ResourceError: there is none here.
    """
    given = os.environ.get(VARIABLE, "")
    places = [Path(given), Path(given) / CONVERTER] if given else []
    on_path = shutil.which(CONVERTER)
    places += [Path(on_path)] if on_path else []
    for place in places:
        if place.is_file():
            return place
    raise ResourceError(
        f"llama.cpp's {CONVERTER} is not here, so no GGUF file can be written",
        where="release",
        do=f"clone llama.cpp, set {VARIABLE} to its folder and install its requirements; or leave gguf out of the recipe's release.formats",
    )


def require_rope(rotated: Sequence[object]) -> None:
    """Refuse a SmolLM3 that llama.cpp would compute otherwise: its file does not say which layers lack rotary positions.

    Args:
        rotated: of each layer, whether it has them.

    Raises:
        ConfigError: they lack in other layers than every fourth.
    """
    if [bool(one) for one in rotated] != [(layer + 1) % NO_ROPE_EVERY != 0 for layer in range(len(rotated))]:
        raise ConfigError(
            f"a GGUF file of SmolLM3 does not say which layers lack rotary positions, and llama.cpp takes every {NO_ROPE_EVERY}th for them",
            where="model.no_rope_every",
            do=f"set it to {NO_ROPE_EVERY} or 0 before training, or leave gguf out of the recipe's release.formats",
        )


def known_cut(model: Path) -> str | None:
    """llama.cpp's name of the pattern of a tokenizer that a recipe trained; None for any other, which the converter must know itself."""
    path = model / "tokenizer.json"
    found = json.loads(path.read_text(encoding="utf-8")).get("pre_tokenizer") if path.is_file() else None
    steps = (found or {}).get("pretokenizers") or []
    if [step.get("type") for step in steps] != ["Split", "ByteLevel"]:
        return None
    return CUTS.get(steps[0]["pattern"].get("Regex", ""))


def export_gguf(model: Path, out: Path, precision: Precision = "bf16", seconds: float = 3600) -> Path:
    """Convert a Hugging Face folder.

    Args:
        out: the file to write, for example `model.gguf`.
        seconds: time limit of the converter.

    Raises:
        ConfigError: llama.cpp would compute another model from the file.
        ResourceError: there is no converter here.
        StageError: it failed or wrote nothing; its last words are in the message.
    """
    converter = require_converter()
    config = json.loads((model / "config.json").read_text(encoding="utf-8")) if (model / "config.json").is_file() else {}
    if config.get("model_type") == "smollm3":
        require_rope(config["no_rope_layers"])
    start = [str(converter)] if (cut := known_cut(model)) is None else ["-m", "tasks.conversion.gguf_converter", cut, str(converter)]
    command = [sys.executable, *start, str(model), "--outfile", str(out), "--outtype", precision]
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, env=environment, check=False)
    except subprocess.TimeoutExpired:
        raise StageError(f"{CONVERTER} was not done after {seconds:g} s", where="release", do="give it more time") from None
    if done.returncode != 0 or not out.is_file():
        said = " / ".join((done.stderr or done.stdout).strip().splitlines()[-3:]) or f"exit code {done.returncode}"
        raise StageError(
            f"{CONVERTER} wrote no file: {said[:400]}",
            where="release",
            do="it must know the architecture and the tokenizer: update llama.cpp, or leave gguf out of release.formats",
        )
    return out
