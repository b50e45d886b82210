"""Parents of a merge: tiny random models of one architecture and one tokenizer, written as the stages before leave them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tasks.posttraining import equip, template_text
from tasks.posttraining.config import ChatTemplate

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>", "<think>", "</think>"]
Tensors = dict[str, Any]


def tokenizer(template: bool = True) -> Any:
    """Bytes and the control tokens of a chat."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE({letter: number for number, letter in enumerate(alphabet)}, []))
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    made.add_special_tokens(SPECIAL[:4])
    made.add_tokens([AddedToken(text, special=False, normalized=False) for text in SPECIAL[4:]])
    found = PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<|im_end|>", pad_token="<|pad|>")
    if template:
        equip(found, template_text(ChatTemplate(kind="smollm3")))
    return found


def write_model(folder: Path, seed: int, *, tied: bool = True, template: bool = True, base: Path | None = None, **changed: Any) -> Path:
    """A model of two layers x 32; with `base` one near it, as a child of it would be."""
    import torch
    from transformers import AutoModelForCausalLM, SmolLM3Config, SmolLM3ForCausalLM

    given = tokenizer(template)
    torch.manual_seed(seed)
    shape = {
        "vocab_size": len(given), "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
        "num_key_value_heads": 1, "max_position_embeddings": 256, "tie_word_embeddings": tied, "initializer_range": 0.1,
        "bos_token_id": None, "eos_token_id": given.eos_token_id, "pad_token_id": given.pad_token_id, "no_rope_layers": [1, 0],
    }  # fmt: skip
    if base is None:
        model: Any = SmolLM3ForCausalLM(SmolLM3Config(**shape | changed))
    else:
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
    model.generation_config.eos_token_id, model.generation_config.pad_token_id = given.eos_token_id, given.pad_token_id
    model.save_pretrained(folder)
    given.save_pretrained(folder)
    return folder


def tensors(folder: Path) -> Tensors:
    """Every tensor of a model folder."""
    from safetensors.torch import load_file

    return {name: tensor for file in sorted(folder.glob("*.safetensors")) for name, tensor in load_file(file).items()}


def edited(source: Path, folder: Path, change: Callable[[Tensors], None]) -> Path:
    """A copy of a model folder with changed tensors."""
    from safetensors.torch import save_file

    shutil.copytree(source, folder)
    held = tensors(folder)
    change(held)
    save_file(held, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def configured(source: Path, folder: Path, name: str = "config.json", **changed: Any) -> Path:
    """A copy of a model folder with changed keys of one of its JSON files; None removes a key."""
    shutil.copytree(source, folder)
    document = json.loads((folder / name).read_text()) | changed
    (folder / name).write_text(json.dumps({key: value for key, value in document.items() if value is not None}))
    return folder
