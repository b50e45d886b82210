"""Conversations to tokens with the mask of what carries loss, exactly as a trainer gets them from `apply_chat_template`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

from contracts.errors import InputError
from tasks.posttraining.conversation import Sample
from tasks.posttraining.template import control_ids, equip

Look = Literal["special", "masked", "trained"]


class Token(NamedTuple):
    """One token, with the text it stands for ("" where it only completes a character)."""

    id: int
    text: str
    trained: bool
    special: bool


@dataclass(frozen=True)
class Rendering:
    """One conversation as the model sees it."""

    text: str
    ids: list[int]
    """[tokens]"""
    mask: list[int]
    """[tokens], 1 where a token carries loss."""
    offsets: list[tuple[int, int]]
    """[tokens], first and last + 1 character of each token in `text`."""
    special: frozenset[int]
    """Ids of control tokens."""

    @property
    def trained(self) -> int:
        """Tokens that carry loss."""
        return sum(self.mask)

    @cached_property
    def tokens(self) -> list[Token]:
        """The tokens with their texts; joined, the texts are `text`."""
        found, reached = [], 0
        for id_, on, (_, end) in zip(self.ids, self.mask, self.offsets, strict=True):
            found.append(Token(id_, self.text[reached:end], bool(on), id_ in self.special))
            reached = max(reached, end)
        return found

    def turns(self, opening: str = "<|im_start|>") -> Iterator[list[Token]]:
        """The tokens of each turn, from its opening token to the next one; a separator between two counts to the first."""
        turn: list[Token] = []
        for token in self.tokens:
            if turn and token.special and token.text == opening:
                yield turn
                turn = []
            turn.append(token)
        if turn:
            yield turn


class Renderer:
    """A tokenizer with a template on it."""

    def __init__(self, tokenizer: Any, template: str, where: str = "tokenizer") -> None:
        """Take a fast tokenizer of transformers and a template's text.

        Raises:
            ConfigError, InputError: as `equip` says, or a tokenizer that is not a fast one.
        """
        if not getattr(tokenizer, "is_fast", False):
            raise InputError(
                "not a fast tokenizer: it cannot say which characters a token covers", where=where, do="give one with tokenizer.json"
            )
        self.tokenizer, self.template = equip(tokenizer, template, where), template
        self._special = control_ids(tokenizer)

    @classmethod
    def load(cls, folder: Path, template: str | None = None) -> Renderer:
        """The tokenizer of a local folder, with this template or, where none is given, with its own.

        Raises:
            ConfigError, InputError: no tokenizer there, or as `equip` says.
        """
        from transformers import AutoTokenizer

        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError) as error:
            said = f"no tokenizer can be read: {str(error).splitlines()[0][:160]}"
            raise InputError(said, where=str(folder), do="give the folder of an artifact of `tokenizer`, or of a model") from None
        own = template or tokenizer.chat_template
        if not isinstance(own, str):
            raise InputError("the tokenizer brings no chat template", where=str(folder), do="name one: --template smollm3")
        return cls(tokenizer, own, str(folder))

    def text(self, sample: Sample, prompt: bool = False) -> str:
        """The conversation as text; with `prompt`, and the beginning of the next answer, as an inference server puts it.

        Raises:
            InputError: the template refuses the conversation.
        """
        return str(self._apply(sample, add_generation_prompt=prompt, tokenize=False))

    def render(self, sample: Sample) -> Rendering:
        """Tokens and mask as trainers get them.

        Raises:
            InputError: the template refuses the conversation.
        """
        made = self._apply(
            sample, tokenize=True, return_dict=True, return_assistant_tokens_mask=True,
            tokenizer_kwargs={"return_offsets_mapping": True},
        )  # fmt: skip
        mask, offsets = list(made["assistant_masks"]), [tuple(one) for one in made["offset_mapping"]]
        return Rendering(self.text(sample), list(made["input_ids"]), mask, offsets, self._special)

    def encode(self, text: str) -> list[int]:
        """Ids of rendered text."""
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def written(self, ids: list[int]) -> str:
        """Generated ids as an inference server hands them on: without control tokens."""
        return str(self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def is_special(self, id_: int) -> bool:
        """Whether it is a control token, hidden when text is decoded."""
        return id_ in self._special

    def _apply(self, sample: Sample, **how: Any) -> Any:
        from jinja2.exceptions import TemplateError

        try:
            return self.tokenizer.apply_chat_template(sample.messages, **{**sample.template_kwargs, **how})
        except (TemplateError, TypeError, ValueError, KeyError, AttributeError) as error:
            said = f"the chat template refuses the conversation: {str(error) or type(error).__name__}"
            raise InputError(said, where=sample.where, do="correct the sample, or take a template that has what it needs") from None
