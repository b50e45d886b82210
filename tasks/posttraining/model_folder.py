"""A model between two training stages: a Hugging Face folder in, a Hugging Face folder of the same form out."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from contracts.errors import GateError, InputError
from tasks.conversion import model_in
from tasks.posttraining.config import ChatTemplate
from tasks.posttraining.rendering import Renderer
from tasks.posttraining.template import TURN_TOKENS, template_text

END_OF_TURN = TURN_TOKENS[1]


def with_model(inputs: Mapping[str, Path]) -> dict[str, Path]:
    """Inputs whose `model`, `teacher` and `strong` are models' folders, not the artifacts that they lie in."""
    return {role: model_in(at) if role in ("model", "teacher", "strong") else at for role, at in inputs.items()}


def load_renderer(folder: Path, template: ChatTemplate) -> Renderer:
    """The parent's tokenizer with the recipe's template on it; a text now ends where a turn ends.

    Raises:
        ConfigError, InputError: a template without markers, a tokenizer that lacks its tokens.
    """
    renderer = Renderer.load(folder, template_text(template))
    if END_OF_TURN in renderer.template:
        renderer.tokenizer.eos_token = END_OF_TURN
    return renderer


def load_model(folder: Path, device: str = "cpu") -> Any:
    """The parent's weights in float32, whatever they are stored in: they become the masters.

    Raises:
        InputError: no model there, or a damaged one.
    """
    import torch
    from transformers import AutoModelForCausalLM

    attention = "flash_attention_2" if device == "cuda" and find_spec("flash_attn") else "sdpa"
    try:
        return AutoModelForCausalLM.from_pretrained(
            str(folder), dtype=torch.float32, local_files_only=True, trust_remote_code=False, attn_implementation=attention
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        said = f"no model can be read: {str(error).splitlines()[0][:200]}"
        raise InputError(said, where=str(folder), do="give the folder of a converted or trained model") from None
    except Exception as error:  # safetensors' own error derives from Exception alone
        if type(error).__name__ != "SafetensorError":
            raise
        raise InputError(f"the weights are damaged: {error}", where=str(folder), do="run the stage that made them again") from None


def save(trainer: Any, tokenizer: Any, out: Path, backend: str) -> None:
    """Leave the trained model as a float32 folder with tokenizer, template and a generation config that stops at the end of a turn.

    Adapters are merged into the weights. Every rank calls it where the model is sharded; rank 0 writes.

    Raises:
        GateError: a weight that is no number.
    """
    import torch

    model, state = trainer.accelerator.unwrap_model(trainer.model), None
    if backend == "deepspeed":
        state = _deepspeed_masters(trainer)
    elif backend == "fsdp":
        state = trainer.accelerator.get_state_dict(trainer.model)
    if not trainer.is_world_process_zero():
        return
    if hasattr(model, "merge_and_unload"):
        model = model.merge_and_unload()
    ids = {"eos_token_id": tokenizer.convert_tokens_to_ids(tokenizer.eos_token), "pad_token_id": tokenizer.pad_token_id}
    for config in (model.config, model.generation_config):
        for name, value in ids.items():
            setattr(config, name, value)
    model.config.use_cache = True
    weights = state if state is not None else model.state_dict()
    broken = [name for name, tensor in weights.items() if not bool(torch.isfinite(tensor).all())]
    if broken:
        do = "lower the learning rate, and look at the loss in metrics.jsonl"
        raise GateError(f"{len(broken)} tensors hold values that are no numbers, {broken[0]} first", where="trained model", do=do)
    if state is None:
        model.float()
    model.save_pretrained(out, state_dict=None if state is None else {name: tensor.float() for name, tensor in state.items()})
    tokenizer.save_pretrained(out)


def _deepspeed_masters(trainer: Any) -> dict[str, Any]:
    """Float32 weights from DeepSpeed's own checkpoint: the module itself holds bfloat16."""
    from deepspeed.utils.zero_to_fp32 import get_fp32_state_dict_from_zero_checkpoint  # only on machines that have it

    folder = Path(trainer.args.output_dir) / "masters"
    trainer.model_wrapped.save_checkpoint(str(folder))
    trainer.accelerator.wait_for_everyone()
    return dict(get_fp32_state_dict_from_zero_checkpoint(str(folder)) if trainer.is_world_process_zero() else {})
