"""A model folder taken apart: what of it can be compared with another's, and what is wrong with it by itself."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contracts.config import digest
from contracts.errors import InputError

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja")
"""What a merge takes from one of its inputs as it is; nothing else of a tokenizer is written by this line."""
GENERATION = "generation_config.json"
_LAYER = re.compile(r"\blayers\.(\d+)\.")
_NAMED = 3
Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Anatomy:
    """What a model folder holds, its weights excepted."""

    folder: Path
    config: Mapping[str, Any]
    """config.json as it stands there."""
    architecture: Mapping[str, Any]
    """What transformers reads from it, defaults filled in: two writers of the same model say different parts of it."""
    shapes: Shapes
    """Tensor -> shape, of every safetensors file."""
    dtypes: frozenset[str]
    """Precisions of its tensors, as safetensors names them (F32, BF16)."""
    not_finite: tuple[str, ...]
    """Tensors that hold a NaN or an infinity."""
    vocabulary: str
    """Digest of how text becomes tokens; empty without a tokenizer. What tools rewrite (padding, truncation) is not in it."""
    template: str
    """Digest of the chat template; empty without one."""
    generation: Mapping[str, Any]
    """generation_config.json, without the version that wrote it."""

    @property
    def layers(self) -> int:
        """Layers that the tensors make up."""
        return len({int(found[1]) for found in map(_LAYER.search, self.shapes) if found})

    @property
    def tied(self) -> bool:
        """Whether config.json says that input and output embeddings are one."""
        return bool(self.config.get("tie_word_embeddings", False))


def dissect(folder: Path) -> Anatomy:
    """Read a model folder, its weights one tensor at a time.

    Raises:
        InputError: no config.json or an unknown one, no weights as safetensors, or a damaged file of them.
    """
    from safetensors import SafetensorError, safe_open

    config = _json(folder / "config.json")
    files = sorted(folder.glob("*.safetensors"))
    if config is None or not files:
        missing = "config.json" if config is None else "*.safetensors"
        raise InputError(f"this is no model folder: {missing} is missing", where=str(folder), do="run the stage that makes the model again")
    shapes: dict[str, tuple[int, ...]] = {}
    dtypes, broken = set[str](), list[str]()
    try:
        for file in files:
            with safe_open(file, framework="pt") as opened:
                for name in opened.keys():  # noqa: SIM118  no mapping
                    tensor = opened.get_tensor(name)
                    shapes[name] = tuple(tensor.shape)
                    dtypes.add(str(opened.get_slice(name).get_dtype()))
                    if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
                        broken.append(name)
    except (SafetensorError, OSError) as error:
        raise InputError(f"the weights cannot be read: {error}", where=str(folder), do="run the stage that makes the model again") from None
    generation = {key: value for key, value in (_json(folder / GENERATION) or {}).items() if key != "transformers_version"}
    known = _architecture(config).to_dict()
    return Anatomy(folder, config, known, shapes, frozenset(dtypes), tuple(broken), _vocabulary(folder), _template(folder), generation)


def own_problems(found: Anatomy) -> list[str]:
    """What is wrong with one model folder by itself: weights that are not finite, missing or left over, layers, tie flag, tokenizer."""
    problems = []
    if found.not_finite:
        problems.append(f"{_several(found.not_finite)} hold values that are not finite")
    said = found.config.get("num_hidden_layers")
    if said != found.layers:
        problems.append(f"config.json says {said} layers, the weights make up {found.layers}")
    if found.tied and "lm_head.weight" in found.shapes:
        problems.append("config.json ties the embeddings, yet there is an output embedding (lm_head.weight): loading would drop it")
    if not found.tied and "lm_head.weight" not in found.shapes:
        problems.append("config.json unties the embeddings, and no output embedding (lm_head.weight) is there")
    expected = expected_shapes(found.config)
    missing = [name for name in expected if name not in found.shapes and name != "lm_head.weight"]
    foreign = [name for name in found.shapes if name not in expected and name != "lm_head.weight"]
    shaped = [name for name, shape in found.shapes.items() if expected.get(name, shape) != shape]
    for names, what in ((missing, "missing"), (foreign, "left over"), (shaped, "of another shape than config.json says")):
        if names:
            problems.append(f"{_several(names)}: {what}")
    if not found.vocabulary:
        problems.append("there is no tokenizer.json")
    if not found.generation.get("eos_token_id"):
        problems.append("generation_config.json names no token that ends an answer (eos_token_id)")
    return problems


def expected_shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Tensor -> shape that transformers reads for this config.json, tied ones once; no memory is taken and no remote code runs."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(_architecture(config), trust_remote_code=False)
    named = [*model.named_parameters(), *((name, buffer) for name, buffer in model.named_buffers() if name in model.state_dict())]
    return {name: tuple(tensor.shape) for name, tensor in named}


def _architecture(config: Mapping[str, Any]) -> Any:
    from transformers import AutoConfig

    try:
        return AutoConfig.for_model(**config)
    except (TypeError, ValueError, KeyError) as error:
        raise InputError(f"config.json is none that transformers knows: {str(error)[:200]}", do="merge models of this line") from None


def _vocabulary(folder: Path) -> str:
    found = _json(folder / "tokenizer.json")
    if not isinstance(found, dict):
        return ""
    return digest({key: value for key, value in found.items() if key not in ("padding", "truncation", "version")})


def _template(folder: Path) -> str:
    file = folder / "chat_template.jinja"
    text = file.read_text(encoding="utf-8") if file.is_file() else (_json(folder / "tokenizer_config.json") or {}).get("chat_template")
    return digest(text) if text else ""


def _several(names: Any) -> str:
    shown = list(names)[:_NAMED]
    return ", ".join(shown) + (f" and {len(names) - len(shown)} more" if len(names) > len(shown) else "")


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
