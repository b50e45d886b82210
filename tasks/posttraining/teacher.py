"""Another model than the parent, of another stage or from a hub at a pinned revision; as a teacher over the student's vocabulary."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from contracts.errors import ConfigError, InputError
from tasks.posttraining.config import HUB, DistillationConfig
from tasks.posttraining.model_folder import load_model

_FILES = ["*.json", "*.safetensors", "*.model", "*.jinja", "*.txt"]
"""Of a model on a hub: weights as safetensors alone, and no code."""
_ANOTHER = "take a teacher of the student's family (the loss compares whole next-token distributions), or fine-tune on text that it wrote"


def load_teacher(step: DistillationConfig, inputs: Mapping[str, Path], student: Any, tokenizer: Any, device: str) -> Any:
    """The teacher's weights, in float32.

    Args:
        inputs: `teacher` where it is another stage.
        student: the student's model.
        tokenizer: the student's.

    Raises:
        ConfigError: another vocabulary than the student's.
        InputError: no teacher there, or a damaged one; a hub that cannot be reached.
    """
    where = f"distillation-{step.name}.teacher"
    folder = other_model(step.teacher, inputs.get("teacher"), "teacher", where)
    _require_same_tokens(folder, tokenizer, where)
    teacher = load_model(folder, device)
    rows, own = int(teacher.config.vocab_size), int(student.config.vocab_size)
    if rows != own:
        said = f"the teacher gives probabilities of {rows:,} tokens, the student of {own:,}"
        raise ConfigError(said, where=where, do=_ANOTHER)
    return teacher.requires_grad_(False)


def other_model(name: str, given: Path | None, what: str, where: str) -> Path:
    """Folder of a model that a step names beside its parent.

    Args:
        name: a stage, or `hf:owner/model@COMMIT`.
        given: the stage's model, where it is among the inputs.
        what: it is, in messages.

    Raises:
        InputError: it is not there; a hub that cannot be reached.
    """
    if name.startswith(HUB):
        return _from_hub(name, what, where)
    if given is None:
        raise InputError(f"there is no {what}: no model of '{name}' is among the inputs", where=where, do="run that stage first")
    return given


def _from_hub(uri: str, what: str, where: str) -> Path:
    from huggingface_hub import snapshot_download

    name, _, revision = uri.removeprefix(HUB).partition("@")
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=_FILES))
    except Exception as error:  # errors of the hub, the network and names have no common base
        said = f"the {what} cannot be fetched: {type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}"
        raise InputError(said, where=f"{where}: {uri}", do="check name, revision, the network, and HF_TOKEN for a gated model") from error


def _require_same_tokens(folder: Path, tokenizer: Any, where: str) -> None:
    from transformers import AutoTokenizer

    try:
        theirs = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False).get_vocab()
    except (OSError, ValueError) as error:
        said = f"the teacher's tokenizer cannot be read: {str(error).splitlines()[0][:160]}"
        raise InputError(said, where=where, do="name a stage that leaves a model, or a model on a hub") from None
    ours = tokenizer.get_vocab()
    other = sorted(token for token in ours.keys() | theirs.keys() if ours.get(token) != theirs.get(token))
    if other:
        shown = ", ".join(repr(token) for token in other[:3])
        raise ConfigError(
            f"another vocabulary than the student's: {len(other):,} tokens differ in name or number, {shown}{'...' if other[3:] else ''}",
            where=where, do=_ANOTHER,
        )  # fmt: skip
