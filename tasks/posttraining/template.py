"""The chat template as a file, its settings from the recipe, and what a tokenizer needs for it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from contracts.errors import ConfigError, InputError
from tasks.posttraining.config import ChatTemplate

HERE = Path(__file__).parent
TURN_TOKENS = ("<|im_start|>", "<|im_end|>")
"""Control tokens: hidden when text is decoded, and never part of what a person wrote."""
THINK_TOKENS = ("<think>", "</think>")
"""Single tokens that stay visible when text is decoded: parsers and rewards read them."""
CONTROL = re.compile(r"<\|[a-z_]+\|>")
_MARKER = re.compile(r"\{%-?\s*generation\s*-?%\}")
_END_MARKER = re.compile(r"\{%-?\s*endgeneration\s*-?%\}")


def template_text(config: ChatTemplate) -> str:
    """The Jinja text of a recipe's template, its settings written into it, so that a saved tokenizer carries them.

    Raises:
        ConfigError: a file of one's own that cannot be read, or a template without markers of what carries loss.
    """
    path = Path(config.path) if config.kind == "file" else HERE / f"{config.kind}.jinja"
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        do = "name smollm3 or chatml, or give a Jinja file"
        raise ConfigError(f"the chat template cannot be read: {error}", where="posttraining.template.path", do=do) from None
    require_markers(text, str(path))
    if config.kind == "file":
        return text
    values = {
        "default_mode": config.default_mode, "keep_reasoning": config.keep_reasoning, "header": config.header,
        "knowledge_cutoff": config.knowledge_cutoff, "instructions": config.instructions,
    }  # fmt: skip
    settings = "".join(f"{{%- set {name} = {json.dumps(value, ensure_ascii=False)} -%}}" for name, value in values.items())
    return settings + "\n" + text


def require_markers(text: str, where: str) -> None:
    """Refuse a template that does not say what the assistant writes: every mask made with it would be empty, or whole.

    Raises:
        ConfigError: no `{% generation %}`, or one that is not closed.
    """
    opened, closed = len(_MARKER.findall(text)), len(_END_MARKER.findall(text))
    if opened == 0 or opened != closed:
        said = "has no {% generation %} markers" if opened == 0 else f"opens {opened} generation markers and closes {closed}"
        do = "put {% generation %} ... {% endgeneration %} around what the assistant writes, its end-of-turn token included"
        raise ConfigError(f"the chat template {said}", where=where, do=do)


def require_tokens(tokenizer: Any, text: str, where: str) -> None:
    """Refuse a tokenizer that would cut the template's tokens into pieces or lose them when it decodes.

    Raises:
        InputError: a control token of the template that is not one special token; `<think>` or `</think>` that is not one token, or is
            a special one (then decoding hides the reasoning from parsers and rewards).
    """
    known, hiding = tokenizer.get_vocab(), control_ids(tokenizer)
    special = {token for token, id_ in known.items() if id_ in hiding}
    control = sorted({*CONTROL.findall(text)})
    lost = [token for token in control if token not in known or token not in special]
    lost += [token for token in THINK_TOKENS if token in text and token not in known]
    if lost:
        raise InputError(
            f"the tokenizer lacks {', '.join(lost)} as single tokens", where=where,
            do="take a tokenizer of the stage `tokenizer`, which reserves them; adding rows later changes the model",
        )  # fmt: skip
    hidden = [token for token in THINK_TOKENS if token in text and token in special]
    if hidden:
        do = "add them as plain tokens (special: false): parsers and rewards read decoded text"
        raise InputError(f"the tokenizer hides {', '.join(hidden)} when it decodes", where=where, do=do)


def control_ids(tokenizer: Any) -> frozenset[int]:
    """Ids of the tokens that are hidden when text is decoded."""
    return frozenset(id_ for id_, token in tokenizer.added_tokens_decoder.items() if token.special)


def equip(tokenizer: Any, text: str, where: str = "tokenizer") -> Any:
    """The tokenizer, with this template on it: what `save_pretrained` writes and `apply_chat_template` uses from now on.

    Args:
        tokenizer: a fast tokenizer of transformers; it is changed in place.
        text: the template's text, from `template_text` or of one's own.

    Raises:
        ConfigError, InputError: as `require_markers` and `require_tokens` say, or Jinja text that cannot be read.
    """
    from jinja2.exceptions import TemplateError
    from transformers.utils.chat_template_utils import _compile_jinja_template  # the environment that will render it

    require_markers(text, where)
    require_tokens(tokenizer, text, where)
    try:
        _compile_jinja_template(text)
    except TemplateError as error:
        raise ConfigError(f"the chat template is not Jinja: {error}", where=where, do="correct the template") from None
    tokenizer.chat_template = text
    return tokenizer
